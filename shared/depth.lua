-- Looks how long the queue is.
--
-- KEYS[1] the queue
--
-- Answers Redis's ms, how many jobs are due, since when the oldest of them is, in ms (of no meaning
-- without any), and how many are leased or due later.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZCOUNT', KEYS[1], '-inf', now)
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local since = oldest[2] and math.floor(tonumber(oldest[2])) or now
return {now, due, since, redis.call('ZCARD', KEYS[1]) - due}
