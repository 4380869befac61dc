-- The only writer of event logs: fence, terminal lock, idempotent re-flush, batch, publish, TTL.
--
-- KEYS[1]  the log, and the channel its batches are published on
-- KEYS[2]  the fence: the attempt that writes the log now
-- KEYS[3]  for a start: what says that it was cancelled before it came (bar.lua); else not given
-- ARGV[1]  attempt of the writer; -1 to begin a new one, with one event, at the log's very end
-- ARGV[2]  seq of the batch's first event: the writer's last seq + 1; with -1, the least attempt
-- ARGV[3]  TTL of the log in ms from now; 0 leaves it as it is
-- ARGV[4]  internal field of the first entry (owner, terms); '' for none
-- ARGV[5]  type of the first event, ARGV[6] its payload; then the next event's, and so on.
--          A payload is one line of JSON; a terminal event can only be the last of its batch.
--
-- Answers {status, attempt of the log's last entry, its seq}, as before the call (with -1: as after it;
-- of an append that is OK, the attempt is the writer's):
--   OK       all events of the batch are in the log, each once
--   FENCED   the log belongs to another attempt, or this attempt to another writer
--   ENDED    the log has its terminal event
--   MOVED    a later attempt than the log's last began from an old view of it: look again
--   LOST     the log ends before the writer's last event: Redis lost its tail
--   EXPIRED  there is no log; only a start entry makes one
--   BARRED   the start was cancelled before it came; nothing was written
--
-- The usual append goes a short way. The fence says which attempt wrote the log's last entry, as long as
-- that is not terminal, and a log with seq - 1 entries ends with seq - 1, since there are no holes. So
-- nothing has to be read, which costs half of the long way. Without a fence, or when it is another's, the
-- long way finds out what is so: the fence is set and dropped here, in the same step as what it speaks of.
local log, fence, attempt = KEYS[1], KEYS[2], tonumber(ARGV[1])
local seq, ttl, origin = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local count = (#ARGV - 4) / 2

if seq > 1 and redis.call('GET', fence) == ARGV[1] and redis.call('XLEN', log) == seq - 1 then
  local first = ARGV[1] .. '-' .. ARGV[2]
  redis.call('XADD', log, first, 'e', ARGV[5], 'd', ARGV[6])
  local kind = ARGV[5]
  if count == 1 then
    redis.call('SPUBLISH', log, first .. '\n' .. kind .. '\n' .. ARGV[6])
  else
    for i = 7, #ARGV, 2 do
      redis.call('XADD', log, ARGV[1] .. '-' .. seq + (i - 5) / 2, 'e', ARGV[i], 'd', ARGV[i + 1])
    end
    kind = ARGV[#ARGV - 1]
    redis.call('SPUBLISH', log, first .. '\n' .. table.concat(ARGV, '\n', 5))
  end
  if ttl > 0 then
    redis.call('PEXPIRE', log, ttl)
    redis.call('PEXPIRE', fence, ttl)
  end
  if kind == 'end' or kind == 'error' then
    redis.call('DEL', fence)
  end
  return {'OK', attempt, seq - 1}
end

local top_attempt, top_seq, written, at_the_end = 0, 0, 0, false

local function id(n)
  return string.format('%d-%d', attempt, n)
end

local top = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if top then
  local a, s = string.match(top[1], '^(%d+)-(%d+)$')
  top_attempt, top_seq = tonumber(a), tonumber(s)
  if attempt < 0 then
    -- Found here and not by the caller: a fast writer would move the end away, again and again.
    local fields = top[2]
    if fields[2] ~= 'error' and fields[2] == ARGV[5] and fields[4] == ARGV[6] then
      return {'OK', top_attempt, top_seq} -- ours, whose answer was lost
    end
    attempt, seq = math.max(top_attempt + 1, seq), top_seq + 1
    at_the_end = true
  end
  if attempt < top_attempt then
    return {'FENCED', top_attempt, top_seq}
  end
  if seq > top_seq + 1 then
    return {'LOST', top_attempt, top_seq}
  end
  if seq <= top_seq then
    if attempt > top_attempt then
      return {'MOVED', top_attempt, top_seq}
    end
    -- What is there under our attempt must be what we are writing: a flush whose answer was lost.
    -- Else somebody else writes under our attempt, and was first.
    written = math.min(count, top_seq - seq + 1)
    if origin ~= '' and written < count then
      -- A start that brings its own end, and a log that began without it: another one's, perhaps.
      return {'FENCED', top_attempt, top_seq}
    end
    local there = redis.call('XRANGE', log, id(seq), id(seq + written - 1))
    if #there ~= written then
      return {'FENCED', top_attempt, top_seq}
    end
    for i = 1, written do
      local fields = there[i][2]
      if fields[2] ~= ARGV[3 + 2 * i] or fields[4] ~= ARGV[4 + 2 * i] then
        return {'FENCED', top_attempt, top_seq}
      end
    end
  end
  local last = top[2][2]
  if written < count and (last == 'end' or last == 'error') then
    return {'ENDED', top_attempt, top_seq}
  end
  if attempt > top_attempt and not at_the_end and ARGV[5] ~= 'claim' and seq > 2 then
    -- Redis lost this attempt's claim, and others went on from there.
    return {'FENCED', top_attempt, top_seq}
  end
elseif attempt ~= 0 or seq ~= 1 then
  return {'EXPIRED', 0, 0}
elseif KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  return {'BARRED', 0, 0}
end

for i = written + 1, count do
  local e, d = ARGV[3 + 2 * i], ARGV[4 + 2 * i]
  if i == 1 and origin ~= '' then
    redis.call('XADD', log, id(seq), 'e', e, 'd', d, 'o', origin)
  else
    redis.call('XADD', log, id(seq + i - 1), 'e', e, 'd', d)
  end
end
if written < count then
  if ttl > 0 then
    redis.call('PEXPIRE', log, ttl)
  end
  local kind, left = ARGV[#ARGV - 1], redis.call('PTTL', log)
  if kind == 'end' or kind == 'error' then
    redis.call('DEL', fence)
  elseif attempt > 0 and left > 0 then
    redis.call('SET', fence, string.format('%d', attempt), 'PX', left)
  end
end
-- Whole, even when a part of it was there already: readers skip what they have.
local batch = {id(seq)}
for i = 5, #ARGV do
  batch[i - 3] = ARGV[i]
end
redis.call('SPUBLISH', log, table.concat(batch, '\n'))
return at_the_end and {'OK', attempt, seq} or {'OK', top_attempt, top_seq}
