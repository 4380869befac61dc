-- Tells the worker that holds a job to stop running it.
--
-- KEYS[1] the job's lease
-- ARGV[1] job id   ARGV[2] prefix of the workers' stop lists   ARGV[3] how long a list is kept, in ms
--
-- Answers 1, or 0 when nobody holds the job. A list and no push: a worker whose connection is down
-- right now reads it later.
local holder = redis.call('GET', KEYS[1])
if not holder then
  return 0
end
local list = ARGV[2] .. holder
redis.call('RPUSH', list, ARGV[1])
redis.call('PEXPIRE', list, ARGV[3])
return 1
