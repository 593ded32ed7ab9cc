-- Says whether an inventory can be trusted: opened in this Redis instance and in the ledger's epoch,
-- and consistent with its reservations. Also returns its epoch, 0 if it has none: the next epoch must
-- be above it.
-- Includes: instance-id
-- Keeps: nothing: it only reads
-- KEYS: inventory, reservations
-- ARGV
--   1 epoch          of the ledger's row
-- Returns
--   sound, epoch
--   missing, epoch
--   other_server, epoch
--   closed, epoch
--   behind, epoch
--   ahead, epoch
--   inconsistent, epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'reserved', 'orders')
local epoch, reserved, orders = tonumber(inventory[2]), tonumber(inventory[3]), tonumber(inventory[4])
if not inventory[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  return { 'missing', 0 }
end
if inventory[1] == '' then
  return { 'closed', epoch or 0 }
end
if inventory[1] ~= instance_id then
  return { 'other_server', epoch or 0 }
end
if epoch and epoch < tonumber(ARGV[1]) then
  return { 'behind', epoch }
end
-- The ledger raises an epoch before the inventory does. A higher one here means the ledger was restored.
if epoch and epoch > tonumber(ARGV[1]) then
  return { 'ahead', epoch }
end
-- If Redis lost the reservations, their number differs from the counter in the inventory.
if not epoch or not reserved or redis.call('HLEN', KEYS[2]) ~= orders then
  return { 'inconsistent', epoch or 0 }
end
return { 'sound', epoch }
