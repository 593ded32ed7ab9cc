-- check-inventory
--   Says whether a sale's inventory can be trusted: opened in this life of Redis and in the ledger's epoch, with its records in
--   step with each other; and its epoch, which the next one must be above. 0 where it has none that can be read.
-- KEYS
--   1 inventory           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
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
-- Keeps
--   nothing: it only reads
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'reserved', 'orders')
local epoch, reserved, orders = tonumber(inventory[2]), tonumber(inventory[3]), tonumber(inventory[4])
if not inventory[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  return { 'missing', 0 }
end
if inventory[1] == '' then
  return { 'closed', epoch or 0 }
end
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id then
  return { 'other_server', epoch or 0 }
end
if epoch and epoch < tonumber(ARGV[1]) then
  return { 'behind', epoch }
end
-- Only the ledger raises an epoch, and it does so first: this ledger was restored, and is not the one that the inventory was made from.
if epoch and epoch > tonumber(ARGV[1]) then
  return { 'ahead', epoch }
end
-- Where the reservations are lost, the next order is one again: so their number is held against the one that the inventory has counted.
if not epoch or not reserved or redis.call('HLEN', KEYS[2]) ~= orders then
  return { 'inconsistent', epoch or 0 }
end
return { 'sound', epoch }
