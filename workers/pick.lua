-- Picks due jobs and leases them to one worker, in one step.
--
-- KEYS[1] the queue
-- ARGV[1] the worker's token   ARGV[2] the lease in ms   ARGV[3] the most jobs to pick
-- ARGV[4] prefix of the lease keys
--
-- Answers id, score, id, score, ... A picked job's score becomes the end of its lease: running jobs
-- leave the read window, and a lapsed lease makes its job due again by itself.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], now + ARGV[2], due[i])
  redis.call('SET', ARGV[4] .. due[i], ARGV[1], 'PX', ARGV[2])
end
return due
