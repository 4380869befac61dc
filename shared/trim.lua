-- Removes from the billing stream what every group has acknowledged.
--
-- KEYS[1] the stream   ARGV[1] about how many entries to remove at most
--
-- Answers {how many were removed, 1 if there may be more}. A group still needs its oldest entry that is
-- pending, or else what comes after the last that it was given. This is found anew each time: a group may have
-- been made since. Whole nodes of the stream go first, for that can be limited; then the rest of one.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {0, 0}
end

local function parse(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local floor_ms, floor_seq
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for i = 1, #group, 2 do
    of[group[i]] = group[i + 1]
  end
  local ms, seq = parse(of['last-delivered-id'])
  seq = seq + 1
  local oldest = redis.call('XPENDING', KEYS[1], of['name'])[2]
  if oldest then
    ms, seq = parse(oldest)
  end
  if not floor_ms or ms < floor_ms or (ms == floor_ms and seq < floor_seq) then
    floor_ms, floor_seq = ms, seq
  end
end
if not floor_ms then
  return {0, 0}
end
local floor = string.format('%.0f-%.0f', floor_ms, floor_seq)
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', floor, 'LIMIT', ARGV[1])
if removed > 0 then
  return {removed, 1}
end
return {redis.call('XTRIM', KEYS[1], 'MINID', '=', floor), 0}
