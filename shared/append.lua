-- The only writer of event logs: fence, terminal lock, idempotent re-flush, batch, publish, TTL.
--
-- KEYS[1]  the log, and the channel its batches are published on
-- KEYS[2]  the fence: the attempt that writes the log now
-- KEYS[3]  for a start: what says that it was cancelled before it came (bar.lua); else not given
-- ARGV[1]  attempt of the writer; -1 to begin a new one, with one event, at the log's very end
-- ARGV[2]  seq of the batch's first event: the writer's last seq + 1; with -1, the least attempt
-- ARGV[3]  TTL of the log in ms from now; 0 leaves it as it is
-- ARGV[4]  internal field of the first entry (owner, terms); '' for none
-- ARGV[5]  what the attempt used up to the batch's end, "<chunks> <tokens> <ms>"; '' when the caller
--          can't know it: then it is carried over from the log's last entry; '-' the same, when nobody runs
--          it any more: then no time has passed since
-- ARGV[6]  type of the first event, ARGV[7] its payload; then the next event's, and so on.
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
--
-- What was used is kept in the third field of a batch's last entry, "<chunks> <tokens> <ms> <when>", when
-- being the ms by this clock. So the log itself says what an execution comes to, whoever ends it, and
-- says nothing that it has not delivered: who ends it from outside adds the time since then. A new attempt
-- has what was delivered before it and none of its time, and a hand-over stops the clock (when: 0).
local log, fence, attempt = KEYS[1], KEYS[2], tonumber(ARGV[1])
local seq, ttl, origin, used = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local count = (#ARGV - 5) / 2

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

if seq > 1 and used ~= '' and used ~= '-' and redis.call('GET', fence) == ARGV[1] and redis.call('XLEN', log) == seq - 1 then
  local first, kind = ARGV[1] .. '-' .. ARGV[2], ARGV[#ARGV - 1]
  local last = count == 1 and first or ARGV[1] .. '-' .. seq + count - 1
  for i = 6, #ARGV - 3, 2 do
    redis.call('XADD', log, ARGV[1] .. '-' .. seq + (i - 6) / 2, 'e', ARGV[i], 'd', ARGV[i + 1])
  end
  local sum = string.format('%s %.0f', used, now())
  redis.call('XADD', log, last, 'e', kind, 'd', ARGV[#ARGV], 'u', sum)
  if count == 1 then
    redis.call('SPUBLISH', log, first .. '\n' .. kind .. '\n' .. ARGV[7])
  else
    redis.call('SPUBLISH', log, first .. '\n' .. table.concat(ARGV, '\n', 6))
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
    if fields[2] ~= 'error' and fields[2] == ARGV[6] and fields[4] == ARGV[7] then
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
      if fields[2] ~= ARGV[4 + 2 * i] or fields[4] ~= ARGV[5 + 2 * i] then
        return {'FENCED', top_attempt, top_seq}
      end
    end
  end
  local last = top[2][2]
  if written < count and (last == 'end' or last == 'error') then
    return {'ENDED', top_attempt, top_seq}
  end
  if attempt > top_attempt and not at_the_end and ARGV[6] ~= 'claim' and seq > 2 then
    -- Redis lost this attempt's claim, and others went on from there.
    return {'FENCED', top_attempt, top_seq}
  end
elseif attempt ~= 0 or seq ~= 1 then
  return {'EXPIRED', 0, 0}
elseif KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  return {'BARRED', 0, 0}
end

local idle = used == '-'
used = idle and '' or used
local carried = used == '' and top and top[2][5] == 'u' and top[2][6]
if carried then
  local chunks, tokens, ms, when = string.match(carried, '^(%d+) (%d+) (%d+) (%d+)$')
  if chunks then
    local time, since = now(), tonumber(when)
    ms = since > 0 and not idle and ms + math.max(0, time - since) or tonumber(ms)
    if ARGV[6] == 'claim' then
      ms = 0
    end
    local stopped = ARGV[6] == 'handover'
    used = string.format('%s %s %.0f %.0f', chunks, tokens, ms, stopped and 0 or time)
  end
elseif used ~= '' or ARGV[6] == 'claim' then
  used = string.format('%s %.0f', used ~= '' and used or '0 0 0', now())
end

for i = written + 1, count do
  local e, d = ARGV[4 + 2 * i], ARGV[5 + 2 * i]
  if i == 1 and origin ~= '' then
    redis.call('XADD', log, id(seq), 'e', e, 'd', d, 'o', origin)
  elseif i == count and used ~= '' then
    redis.call('XADD', log, id(seq + i - 1), 'e', e, 'd', d, 'u', used)
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
for i = 6, #ARGV do
  batch[i - 4] = ARGV[i]
end
redis.call('SPUBLISH', log, table.concat(batch, '\n'))
return at_the_end and {'OK', attempt, seq} or {'OK', top_attempt, top_seq}
