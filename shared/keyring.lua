-- Adds a key to the keyring, or takes it away; again and again if you like.
--
-- KEYS: the keys; how many each account has
-- ARGV: the key's digest; its account; its record, or '' to take it away
-- Returns 1 if that changed something.
--
-- The count of an account that has lost its last key stays, at 0: keys were in use here, so that having
-- none now must not open the doors to everybody.

local digest, account, record = ARGV[1], ARGV[2], ARGV[3]

if record ~= '' then
  if redis.call('HSETNX', KEYS[1], digest, record) == 0 then return 0 end
  redis.call('HINCRBY', KEYS[2], account, 1)
else
  if redis.call('HDEL', KEYS[1], digest) == 0 then return 0 end
  -- Of a damaged record nobody knows whose it was.
  if account == '' then return 1 end
  redis.call('HINCRBY', KEYS[2], account, -1)
end
return 1
