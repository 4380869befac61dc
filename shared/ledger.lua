-- Writes a row of the ledger unless the execution has one, and counts and lists what ended just now.
--
-- KEYS[1] the ledger of the account and day   KEYS[2] the list of what ended lately
-- ARGV[1] execution id   ARGV[2] its row   ARGV[3] the pulse's field of its outcome
-- ARGV[4] the field when there are too many others   ARGV[5] how many fields are too many
-- ARGV[6] prefix of the pulse's slots   ARGV[7] a slot in ms   ARGV[8] how long one is kept, in ms
-- ARGV[9] how many rows are listed at least   ARGV[10] how long the list is kept, in ms
--
-- KEYS[3] its account   KEYS[4] the account's holds   KEYS[5] what they reserve
-- ARGV[11] what it costs its account's credit, in 1e-9 USD, if more than nothing; else ''
--
-- Answers 1, or 0 when the execution had a row. Skills name their own errors: without a limit, one that
-- makes up a code for each execution would fill the memory. And nothing that goes wrong with figures may
-- keep a row from being written, hence pcall. What need not be done every time is done when a slot sees an
-- outcome for the first time, or when the list has become twice as long as it must be.
local added = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
-- What has a row needs no hold. What was reserved comes back in the same step in which the cost is taken.
local held = redis.pcall('HGET', KEYS[5], ARGV[1])
redis.pcall('ZREM', KEYS[4], ARGV[1])
if type(held) == 'string' then
  redis.pcall('HDEL', KEYS[5], ARGV[1])
  redis.pcall('HINCRBY', KEYS[3], 'reserved', '-' .. held)
  redis.pcall('HINCRBY', KEYS[3], 'balance', held)
end
if added == 0 then
  return 0
end
if ARGV[11] ~= '' and redis.pcall('HEXISTS', KEYS[3], 'balance') == 1 then
  redis.pcall('HINCRBY', KEYS[3], 'balance', '-' .. ARGV[11])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
