-- Ends a lease: the job is finished and forgotten, or due again.
--
-- KEYS[1] the queue   KEYS[2] the lease   KEYS[3] the doorbell   KEYS[4] the job
-- KEYS[5] arq's count of picks
-- ARGV[1] the worker's token   ARGV[2] job id   ARGV[3] 'finish', or in how many ms it is due again
-- ARGV[4] the most tokens the doorbell keeps
--
-- Answers 1, or 0 when another worker holds the lease: then nothing was touched.
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[3] == 'finish' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[4], KEYS[5])
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'XX', now + ARGV[3], ARGV[2])
if tonumber(ARGV[3]) == 0 then
  redis.call('LPUSH', KEYS[3], '1')
  redis.call('LTRIM', KEYS[3], 0, ARGV[4] - 1)
end
return 1
