-- Creates the inventory of a sale that never had one, open in this Redis instance. Leaves an
-- existing inventory as it is: stock is never reset.
-- Includes: instance-id
-- Keeps: I1, I2, I11
-- KEYS: inventory
-- ARGV: allotment, starts at ms, ends at ms, per buyer limit (0 = no cap), paused (1 or 0),
--   version of the ledger's row, epoch of the ledger's row
-- Returns: opened | exists
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'exists' }
end
redis.call('HSET', KEYS[1],
  'allotment', ARGV[1], 'available', ARGV[1], 'reserved', 0, 'sold', 0, 'orders', 0,
  'starts_at', ARGV[2], 'ends_at', ARGV[3], 'per_buyer_limit', ARGV[4], 'paused', ARGV[5],
  'version', ARGV[6], 'epoch', ARGV[7], 'instance_id', instance_id)
return { 'opened' }
