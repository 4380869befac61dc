-- Queues a job and rings the doorbell, in one step; a job that is queued already is left alone.
--
-- KEYS[1] the job   KEYS[2] arq's result of it   KEYS[3] the queue   KEYS[4] the doorbell
-- KEYS[5] its account   KEYS[6] the account's holds   KEYS[7] what they reserve
-- ARGV[1] job id   ARGV[2] the job, encoded   ARGV[3] how long the job is kept, in ms
-- ARGV[4] the most tokens the doorbell keeps
-- ARGV[5] how long its hold lasts from now on, in ms   ARGV[6] what is reserved for it; '' when nothing is
-- ARGV[7] 1: it counts among those of its account that run at once
--
-- A hold that is not there any more, lapsed or given back, is placed again: nothing that has to have one runs
-- without. It is for hold.lua to refuse a start for how many run; whoever was let through is not refused here.
--
-- Answers 1, or 0 when the job was there, or -1 when it is not queued, since its hold has lapsed and the
-- credit has gone to others meanwhile. The clock is Redis's: an edge whose clock is an hour ahead must not
-- delay its jobs by an hour.
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held, amount = redis.call('ZSCORE', KEYS[6], ARGV[1]), ARGV[6]
if not held and amount ~= '' then
  local balance = redis.call('HGET', KEYS[5], 'balance')
  if balance then
    -- As strings: a Lua number would lose digits.
    local short = #balance == #amount and balance < amount or #balance < #amount
    if short or string.sub(balance, 1, 1) == '-' then
      return -1
    end
    redis.call('HINCRBY', KEYS[5], 'balance', '-' .. amount)
    redis.call('HINCRBY', KEYS[5], 'reserved', amount)
    redis.call('HSET', KEYS[7], ARGV[1], amount)
  end
end
if held or ARGV[7] == '1' then
  redis.call('ZADD', KEYS[6], string.format('%.0f', now + ARGV[5]), ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('LPUSH', KEYS[4], '1')
redis.call('LTRIM', KEYS[4], 0, ARGV[4] - 1)
return 1
