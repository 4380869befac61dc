-- Notes that a process lives.
--
-- KEYS[1] the processes of its kind   KEYS[2] what it says of itself   KEYS[3] what it runs
-- ARGV[1] its id   ARGV[2] how long that holds, in ms   ARGV[3] what it says   ARGV[4] what it runs
--
-- Answers nothing of interest. The clock is Redis's.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
