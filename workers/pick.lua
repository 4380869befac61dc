-- Picks due jobs and leases them to one worker, in one step.
--
-- KEYS[1] the queue   KEYS[2] the doorbell
-- ARGV[1] the worker's token   ARGV[2] the lease in ms   ARGV[3] the most jobs to pick
-- ARGV[4] prefix of the lease keys   ARGV[5] prefix of arq's counts of picks
-- ARGV[6] when the worker was last answered, in Redis's ms; 0: never
-- ARGV[7] until when lapsed leases are left to their holders, in Redis's ms
-- ARGV[8] how long a holder is remembered, and its picks are counted, in ms   ARGV[9] prefix of the jobs
--
-- Answers Redis's ms, 1 when more are due than fit into one answer, then id, score, job (nothing when it expired), how often it was picked, of each. A picked
-- job's score becomes the end of its lease: running jobs leave the read window, and a lapsed lease makes
-- its job due again by itself. Whoever picks many at once takes their doorbell tokens, all but the one
-- that woke it: they would only wake others in vain.
--
-- While Redis is away nobody can renew. So a worker that was not answered for more than half a lease
-- does not take over at once what lapsed meanwhile: each such job is due again one lease later, and
-- its holder, if it lives, renews before that. It is decided here, not by the caller: a command that
-- was sent to a Redis that hung is run when Redis goes on, however old it is.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, contact = tonumber(ARGV[2]), tonumber(ARGV[6])
local spare = now < tonumber(ARGV[7]) or (contact > 0 and now - contact > lease / 2)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local picked, size = {now, 0}, 0
for i = 1, #due, 2 do
  if size > 4194304 then
    picked[2] = 1
    break
  end
  redis.call('ZADD', KEYS[1], now + lease, due[i])
  if not (spare and redis.call('EXISTS', ARGV[5] .. due[i]) == 1) then
    redis.call('SET', ARGV[4] .. due[i], ARGV[1], 'PX', ARGV[8])
    local n = #picked
    picked[n + 1] = due[i]
    picked[n + 2] = due[i + 1]
    local job = redis.pcall('GET', ARGV[9] .. due[i])
    picked[n + 3] = type(job) == 'string' and job
    size = size + (type(job) == 'string' and #job or 0)
    picked[n + 4] = redis.call('INCR', ARGV[5] .. due[i])
    redis.call('PEXPIRE', ARGV[5] .. due[i], ARGV[8])
  end
end
if #picked > 6 then
  redis.pcall('LPOP', KEYS[2], (#picked - 2) / 4 - 1)
end
return picked
