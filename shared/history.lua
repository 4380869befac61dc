-- Reads some slots of the pulse, in one step.
--
-- KEYS[...] the slots
--
-- Answers, for each of them, its fields and counts in turn.
local found = {}
for i, slot in ipairs(KEYS) do
  found[i] = redis.call('HGETALL', slot)
end
return found
