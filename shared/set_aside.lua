-- Sets rows of the ledger aside, to be compacted: each is at any time in one of the two places.
--
-- KEYS[1] the day's rows   KEYS[2] those that are being compacted
-- ARGV[1] the field of a row, ARGV[2] the next one; and so on
--
-- Answers how many were moved.
local moved = 0
for i = 1, #ARGV do
  local row = redis.call('HGET', KEYS[1], ARGV[i])
  if row then
    redis.call('HSET', KEYS[2], ARGV[i], row)
    redis.call('HDEL', KEYS[1], ARGV[i])
    moved = moved + 1
  end
end
return moved
