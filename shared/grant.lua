-- Grants an account credit, once for each id.
--
-- KEYS[1] the account   KEYS[2] its grants   KEYS[3] the accounts that are prepaid
-- ARGV[1] id of the grant   ARGV[2] its record   ARGV[3] how much, in 1e-9 USD   ARGV[4] the account's name
--
-- Answers 1, or 0 when that was granted before. An account that could hold no more is an error, and is
-- granted nothing.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'balance', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('SADD', KEYS[3], ARGV[4])
return 1
