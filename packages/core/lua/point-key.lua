-- Makes an idempotency key return the order that the ledger has under it, after Redis lost the key.
-- Includes: instance-id
-- Runs: while Redis is full
-- Keeps: I4, I11
-- KEYS: inventory, orderKeys
-- ARGV: epoch of the caller, field of the key, order id and quantity
-- Returns: pointed | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return { 'pointed' }
