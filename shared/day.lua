-- Begins to read a day of the ledger: all there is to it, in one step, when the day is small.
--
-- KEYS[1] its rows   KEYS[2] those that are being compacted   KEYS[3] its sums
-- ARGV[1] about how many rows to read
--
-- Answers {its sums or nil, 1 if rows are being compacted, HSCAN's cursor, fields and rows in turn}.
local page = redis.call('HSCAN', KEYS[1], 0, 'COUNT', ARGV[1])
return {redis.call('GET', KEYS[3]), redis.call('EXISTS', KEYS[2]), page[1], page[2]}
