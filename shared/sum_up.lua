-- Replaces the rows that were set aside by their sums, unless something changed since they were read.
--
-- KEYS[1] the day's rows that are being compacted   KEYS[2] its sums
-- ARGV[1] the sums as they were; '' for none   ARGV[2] the new ones   ARGV[3] how many rows were summed
--
-- Answers 1, or 0 when something changed. Rows are only added to those set aside until these are replaced,
-- so as many as there were are the same. UNLINK frees them in another thread: they may be many.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] or redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('UNLINK', KEYS[1])
return 1
