-- A step of a rebuild, between close-inventory and reopen-inventory: one write to one of the sale's
-- keys. Idempotent: the values are absolute.
-- Runs: while Redis is full
-- Keeps: I11
-- KEYS: inventory, target
-- ARGV: epoch of the rebuilder, command (HSET | HDEL | SADD), its arguments after the key …
-- Returns: written | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id')
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' then
  return { 'other_epoch' }
end
redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
return { 'written' }
