-- Gives a hold back of which nothing came.
--
-- KEYS[1] the account   KEYS[2] its holds   KEYS[3] what they reserve   ARGV[1] execution id
--
-- Answers 1, or 0 when there was none.
local amount = redis.call('HGET', KEYS[3], ARGV[1])
if amount then
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'reserved', '-' .. amount)
  redis.call('HINCRBY', KEYS[1], 'balance', amount)
end
return redis.call('ZREM', KEYS[2], ARGV[1])
