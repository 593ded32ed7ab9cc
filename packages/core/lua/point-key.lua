-- point-key
--   From now on the buyer's key leads to this order: the ledger has it under the key, and Redis had forgotten.
-- KEYS
--   1 inventory         hash of the sale's settings and numbers
--   2 order keys   hash buyer, space, idempotency key -> order id, space, quantity
-- ARGV
--   1 epoch        that the caller speaks for
--   2 field        buyer, space, idempotency key
--   3 order        order id, space, quantity
-- Returns
--   pointed
--   other_epoch
-- Keeps
--   I4 one order a key, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return { 'pointed' }
