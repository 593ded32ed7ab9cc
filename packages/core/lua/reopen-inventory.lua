-- Last step of a rebuild: writes the numbers and settings, and the inventory accepts orders again.
-- Fails if Redis is not the instance in which the inventory was closed, or if the reservations are
-- not those that the rebuilder counted: then the rebuild starts over.
-- Includes: instance-id
-- Runs: while Redis is full
-- Keeps: I1, I2, I11
-- KEYS: inventory, reservations, redeliveries
-- ARGV: epoch of the rebuilder, allotment, sold, reserved, orders (reservations), starts at ms,
--   ends at ms, per buyer limit (0 = no cap), paused (1 or 0), version of the ledger's row
-- Returns: opened, available | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id', 'closed_in')
local orders = tonumber(ARGV[5])
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' or inventory[3] ~= instance_id
  or redis.call('HLEN', KEYS[2]) ~= orders then
  return { 'other_epoch' }
end
local available = tonumber(ARGV[2]) - tonumber(ARGV[3]) - tonumber(ARGV[4])
redis.call('HSET', KEYS[1],
  'allotment', ARGV[2], 'available', available, 'reserved', ARGV[4], 'sold', ARGV[3],
  'orders', orders,
  'starts_at', ARGV[6], 'ends_at', ARGV[7], 'per_buyer_limit', ARGV[8], 'paused', ARGV[9],
  'version', ARGV[10], 'instance_id', instance_id)
redis.call('HDEL', KEYS[1], 'closed_in', 'next_pass')
-- A reaper that claimed orders before the close may have counted redeliveries of ended ones since.
redis.call('UNLINK', KEYS[3])
return { 'opened', available }
