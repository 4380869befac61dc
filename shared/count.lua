-- Counts within a window that begins with what is counted first.
--
-- KEYS[1] the count   ARGV[1] how long the window is, in ms
--
-- Answers the count, and when the window ends, in ms from now.
local count = redis.call('INCR', KEYS[1])
if count == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
