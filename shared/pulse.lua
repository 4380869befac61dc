-- Adds what a process counted to the slots of the pulse.
--
-- KEYS[...] the slots
-- ARGV[1] how long a slot is kept, in ms   then, for each count: the slot's place in KEYS, the field, how many
--
-- Answers nothing of interest.
for i = 2, #ARGV, 3 do
  redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2])
end
for _, slot in ipairs(KEYS) do
  redis.call('PEXPIRE', slot, ARGV[1])
end
return 1
