-- Places the hold of an execution on its account: one of those that may run at once and, if the account has
-- credit, what it may cost at most. Gives back what lapsed holds reserved, a few each time.
--
-- KEYS[1] the account   KEYS[2] its holds   KEYS[3] what they reserve
-- ARGV[1] execution id; '' only gives back, and looks
-- ARGV[2] for how long the hold lasts unless it is confirmed, in ms
-- ARGV[3] how many may run at once; 0: any number
-- ARGV[4] how much to reserve   ARGV[5] the least that will do, if there is not so much
-- ARGV[6] how many lapsed holds to give back at most
--
-- Amounts are decimal strings of 1e-9 USD: a Lua number would lose digits. Answers {status, what is
-- reserved for it or '' when its account has no credit, the credit that is left or '', how many run, all
-- that is reserved, for HELD the ms when it lapses}:
--   HELD  it has a hold now
--   KEPT  it had one already; nothing is counted or reserved a second time. It lapses at another ms then
--         than whoever placed it was told, who so can't give it back any more (release.lua)
--   FULL  as many run as may
--   POOR  the credit does not suffice
local account, holds, reserved, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function plain(number)
  return string.format('%.0f', number)
end

local lapsed = redis.call('ZRANGEBYSCORE', holds, '-inf', plain(now), 'LIMIT', 0, ARGV[6])
for _, one in ipairs(lapsed) do
  local amount = redis.call('HGET', reserved, one)
  if amount then
    redis.call('HDEL', reserved, one)
    redis.call('HINCRBY', account, 'reserved', '-' .. amount)
    redis.call('HINCRBY', account, 'balance', amount)
  end
  redis.call('ZREM', holds, one)
end

local function answer(status, amount, lapses)
  local balance, sum = unpack(redis.call('HMGET', account, 'balance', 'reserved'))
  local running = redis.call('ZCOUNT', holds, '(' .. plain(now), '+inf')
  return {status, amount, balance or '', running, sum or '0', lapses or 0}
end

if id == '' then
  return answer('KEPT', '')
end
local until_ms, lapses = redis.call('ZSCORE', holds, id), now + ARGV[2]
local most, balance, amount = tonumber(ARGV[3]), redis.call('HGET', account, 'balance'), ''
if until_ms then
  lapses = math.max(lapses + 1, tonumber(until_ms))
  amount = redis.call('HGET', reserved, id) or ''
elseif most > 0 and redis.call('ZCOUNT', holds, '(' .. plain(now), '+inf') >= most then
  return answer('FULL', '')
end

-- Of two amounts that are not negative, and have no leading zeros.
local function less(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

-- A hold without an amount is of a start that could cost nothing, or of before there was credit.
if balance and amount == '' then
  local left = string.sub(balance, 1, 1) == '-' and '0' or balance
  amount = ARGV[4]
  if less(left, amount) then
    if less(left, ARGV[5]) then
      return answer('POOR', '')
    end
    amount = left
  end
  if amount ~= '0' then
    redis.call('HINCRBY', account, 'balance', '-' .. amount)
    redis.call('HINCRBY', account, 'reserved', amount)
    redis.call('HSET', reserved, id, amount)
  end
end
redis.call('ZADD', holds, plain(lapses), id)
return answer(until_ms and 'KEPT' or 'HELD', amount, not until_ms and lapses)
