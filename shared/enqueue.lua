-- Queues a job and rings the doorbell, in one step; a job that is queued already is left alone.
--
-- KEYS[1] the job   KEYS[2] arq's result of it   KEYS[3] the queue   KEYS[4] the doorbell
-- ARGV[1] job id   ARGV[2] the job, encoded   ARGV[3] how long the job is kept, in ms
-- ARGV[4] the most tokens the doorbell keeps
--
-- Answers 1, or 0 when the job was there. The clock is Redis's: an edge whose clock is an hour ahead
-- must not delay its jobs by an hour.
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('LPUSH', KEYS[4], '1')
redis.call('LTRIM', KEYS[4], 0, ARGV[4] - 1)
return 1
