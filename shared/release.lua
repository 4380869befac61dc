-- Gives a hold back of which nothing came, if nobody else relies on it by now.
--
-- KEYS[1] the account   KEYS[2] its holds   KEYS[3] what they reserve   ARGV[1] execution id
-- ARGV[2] when it was to lapse, in ms, as hold.lua told who placed it: it lapses later once another start of
--         the same name keeps it, or its job is queued
--
-- Answers 1, or 0 when there is none to give back.
local lapses = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not lapses or tonumber(lapses) ~= tonumber(ARGV[2]) then
  return 0
end
local amount = redis.call('HGET', KEYS[3], ARGV[1])
if amount then
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'reserved', '-' .. amount)
  redis.call('HINCRBY', KEYS[1], 'balance', amount)
end
return redis.call('ZREM', KEYS[2], ARGV[1])
