-- Says whether an inventory can be trusted: opened in this Redis instance and in the ledger's
-- epoch, and consistent with its reservations. Also returns its epoch, 0 if it has none: the next
-- epoch must be above it.
-- Includes: instance-id
-- Keeps: nothing, it only reads
-- KEYS: inventory, reservations, buyers
-- ARGV: epoch of the ledger
-- Returns: sound | missing | other_server | closed | behind | ahead | inconsistent, each with epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'reserved', 'orders', 'sold',
  'per_buyer_limit')
local epoch, ledger_epoch = tonumber(inventory[2]), tonumber(ARGV[1])
local reserved, orders = tonumber(inventory[3]), tonumber(inventory[4])
local sold, has_cap = tonumber(inventory[5]), inventory[6] ~= '0'
local word = 'sound'
if not inventory[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  word = 'missing'
elseif inventory[1] == '' then
  word = 'closed'
elseif inventory[1] ~= instance_id then
  word = 'other_server'
elseif epoch and epoch < ledger_epoch then
  word = 'behind'
elseif epoch and epoch > ledger_epoch then
  -- The ledger raises an epoch before the inventory does, so the ledger was restored.
  word = 'ahead'
elseif not epoch or not reserved or not sold or redis.call('HLEN', KEYS[2]) ~= orders then
  -- If Redis lost reservations, there are fewer than the inventory has counted.
  word = 'inconsistent'
elseif has_cap and reserved + sold > 0 and redis.call('EXISTS', KEYS[3]) == 0 then
  -- Units are gone and nobody holds any: Redis lost the buyers.
  word = 'inconsistent'
end
return { word, epoch or 0 }
