-- Reads both ends of a log, and whether it has an entry, in one step.
--
-- KEYS[1] the log   ARGV[1] the entry's id
--
-- Answers {first entry or nothing, last entry or nothing, 1 or 0}, entries as XRANGE has them.
return {
  redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1),
  redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1),
  #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]),
}
