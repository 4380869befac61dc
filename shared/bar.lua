-- Bars a start that has not come yet: whoever cancels first, wins.
--
-- KEYS[1] the log   KEYS[2] what bars its start, in the log's slot
-- ARGV[1] for how long, in ms   ARGV[2] '1' when one that is not barred yet may be
--
-- Answers 1; 0 when there is a log: then it is too late to bar it, and not too late to end it; -1 when it
-- would have to be barred anew, and may not.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
if ARGV[2] ~= '1' and redis.call('EXISTS', KEYS[2]) == 0 then
  return -1
end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
