-- Writes a row of the ledger unless the run has one, and counts and lists what ended just now.
--
-- KEYS[1] the ledger of the account and day   KEYS[2] the list of what ended lately
-- ARGV[1] execution id   ARGV[2] its row   ARGV[3] the pulse's field of its outcome
-- ARGV[4] the field when there are too many others   ARGV[5] how many fields are too many
-- ARGV[6] prefix of the pulse's slots   ARGV[7] a slot in ms   ARGV[8] how long one is kept, in ms
-- ARGV[9] how many rows are listed at least   ARGV[10] how long the list is kept, in ms
-- KEYS[3] the stream of new rows for other systems, if there is one
-- KEYS[4] the day's rows that are being compacted   KEYS[5] its sums
-- ARGV[11] until when the row may be added to a compacted day, in ms since the epoch; 0: not before it is known
-- KEYS[6] its account   KEYS[7] the account's holds   KEYS[8] what they reserve
-- ARGV[12] what it costs its account's credit, in 1e-9 USD, if more than nothing; else ''
-- ARGV[13] when it was started, in ms since the epoch, as the row has it
--
-- Answers 1, or 0 when the run had a row; and, when it may have had one since its day was compacted,
-- minus the ms since the epoch: who then finds its log knows that it had none.
--
-- Clients choose names of executions, and when its log is gone a name can be started anew, even on the same
-- day: so a run is its execution id and its start, in the stream always, in the day's hash from the second on.
--
-- Skills name their own errors: without a limit, one that makes up a code for each execution would fill the
-- memory. And nothing that goes wrong with figures, or with the stream, may keep a row from being written,
-- hence pcall. What need not be done every time is done when a slot sees an outcome for the first time, or
-- when the list has become twice as long as it must be.
local feed, summing, sums, late = KEYS[3], KEYS[4], KEYS[5], tonumber(ARGV[11])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = ARGV[1] .. '@' .. ARGV[13]
local first = redis.call('HGET', KEYS[1], ARGV[1])
-- In no string of a row is this: quotes are escaped there.
local had = first and string.match(first, '"createdAt":%s*(%d+)') == ARGV[13]
    or redis.call('HEXISTS', KEYS[1], run) == 1
if not had and now > late and redis.call('EXISTS', summing, sums) > 0 then
  return -now
end
if not had then
  -- Rows are known by their fields while they move, too: none may have another's.
  local taken = first or redis.call('HEXISTS', summing, ARGV[1]) == 1
  redis.call('HSET', KEYS[1], taken and run or ARGV[1], ARGV[2])
end
-- What has a row needs no hold. What was reserved comes back in the same step in which the cost is taken.
local account, holds, reserved, cost = KEYS[6], KEYS[7], KEYS[8], ARGV[12]
local held = redis.pcall('HGET', reserved, ARGV[1])
redis.pcall('ZREM', holds, ARGV[1])
if type(held) == 'string' then
  redis.pcall('HDEL', reserved, ARGV[1])
  redis.pcall('HINCRBY', account, 'reserved', '-' .. held)
  redis.pcall('HINCRBY', account, 'balance', held)
end
if had then
  return 0
end
if cost ~= '' and redis.pcall('HEXISTS', account, 'balance') == 1 then
  redis.pcall('HINCRBY', account, 'balance', '-' .. cost)
end
redis.pcall('XADD', feed, 'NOMKSTREAM', '*', 'id', run, 'row', ARGV[2])
local slot = ARGV[6] .. string.format('%.0f', math.floor(now / ARGV[7]))
local count = redis.pcall('HINCRBY', slot, ARGV[3], 1)
if count == 1 then
  if redis.pcall('HLEN', slot) > tonumber(ARGV[5]) then
    redis.pcall('HDEL', slot, ARGV[3])
    redis.pcall('HINCRBY', slot, ARGV[4], 1)
  end
  redis.pcall('PEXPIRE', slot, ARGV[8])
end
local listed = redis.pcall('LPUSH', KEYS[2], string.format('%.0f', now) .. ' ' .. ARGV[2])
local long = type(listed) == 'number' and listed >= 2 * ARGV[9]
if long then
  redis.pcall('LTRIM', KEYS[2], 0, ARGV[9] - 1)
end
if long or count == 1 then
  redis.pcall('PEXPIRE', KEYS[2], ARGV[10])
end
return 1
