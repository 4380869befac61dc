-- Deletes a group of the billing stream; with the last of them the stream, which nobody would read.
--
-- KEYS[1] the stream   ARGV[1] the group   ARGV[2] 1: though it has not acknowledged all
--
-- Answers how many groups are left; -1 when there is no such group, -2 when it has not acknowledged all.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -1
end
local groups, found = redis.call('XINFO', 'GROUPS', KEYS[1]), nil
for _, group in ipairs(groups) do
  local of = {}
  for i = 1, #group, 2 do
    of[group[i]] = group[i + 1]
  end
  if of['name'] == ARGV[1] then
    found = of
  end
end
if not found then
  return -1
end
local after = redis.call('XRANGE', KEYS[1], '(' .. found['last-delivered-id'], '+', 'COUNT', 1)
if ARGV[2] ~= '1' and (found['pending'] > 0 or #after > 0) then
  return -2
end
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
if #groups == 1 then
  redis.call('UNLINK', KEYS[1])
end
return #groups - 1
