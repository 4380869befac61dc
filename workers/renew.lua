-- Renews the leases of one worker's running jobs, in one step.
--
-- KEYS[1] the queue
-- ARGV[1] the worker's token   ARGV[2] the lease in ms   ARGV[3] prefix of the lease keys
-- ARGV[4] how long a holder is remembered, in ms   ARGV[5...] job ids
--
-- Answers {Redis's ms, ids that another worker holds now, ids that the queue does not know}. A lease
-- that lapsed unnoticed is simply taken again. What the queue does not know, another worker finished,
-- or Redis lost it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost, unknown = {}, {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local key = ARGV[3] .. id
  local holder = redis.call('GET', key)
  if holder and holder ~= ARGV[1] then
    lost[#lost + 1] = id
  elseif redis.call('ZSCORE', KEYS[1], id) then
    redis.call('ZADD', KEYS[1], now + ARGV[2], id)
    redis.call('SET', key, ARGV[1], 'PX', ARGV[4])
  else
    unknown[#unknown + 1] = id
  end
end
return {now, lost, unknown}
