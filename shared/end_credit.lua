-- Lets an account pay afterwards: its credit is gone, and what of it was granted is forgotten.
--
-- KEYS[1] the account   KEYS[2] its holds   KEYS[3] what they reserve
-- KEYS[4] its grants   KEYS[5] the accounts that are prepaid
-- ARGV[1] the account's name   ARGV[2] 1: also while something is reserved
--
-- Answers {1 or 0: it is ended, for how many executions something is reserved, the credit that was left or '',
-- all that was reserved}. What lapsed holds reserved is given back first, all of it.
--
-- Whoever has something reserved is paid from credit, whatever becomes of that meanwhile: it would be taken
-- from a later grant. What reserves nothing costs nothing.
local account, holds, reserved = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, one in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now)) do
  local amount = redis.call('HGET', reserved, one)
  if amount then
    redis.call('HDEL', reserved, one)
    redis.call('HINCRBY', account, 'reserved', '-' .. amount)
    redis.call('HINCRBY', account, 'balance', amount)
  end
  redis.call('ZREM', holds, one)
end
local open = redis.call('HLEN', reserved)
local balance, sum = unpack(redis.call('HMGET', account, 'balance', 'reserved'))
local ended = 0
if open == 0 or ARGV[2] == '1' then
  redis.call('HDEL', account, 'balance', 'reserved')
  redis.call('DEL', reserved, KEYS[4])
  redis.call('SREM', KEYS[5], ARGV[1])
  ended = 1
end
return {ended, open, balance or '', sum or '0'}
