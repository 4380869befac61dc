-- Counts the executions that a stream token starts; one that is started again counts once.
--
-- KEYS[1] the executions that the token started
-- ARGV[1] the execution   ARGV[2] how many there may be   ARGV[3] how long they are kept, in ms
--
-- Answers 2 when it counts from now on, 1 when it did, and 0 when there are as many already.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 1
end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 2
