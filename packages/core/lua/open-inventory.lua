-- Last step of a rebuild: writes the numbers and settings, and the inventory accepts orders again.
-- Fails if Redis is not the instance in which the inventory was closed, or if the reservations are
-- not those that the rebuilder counted: then the rebuild starts over.
-- Includes: instance-id
-- Keeps: I1 conservation, I2 never oversold, I11 one epoch at a time
-- KEYS: inventory, reservations, redeliveries
-- ARGV
--   1 epoch            of the rebuilder
--   2 allotment        units
--   3 sold             units
--   4 reserved         units
--   5 orders           reservations that hold them
--   6 starts at        ms since 1970
--   7 ends at          ms since 1970
--   8 per buyer limit  units one buyer may hold; 0 = no cap
--   9 paused           1 or 0
--   10 version         of the ledger's row
-- Returns: opened, available | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id', 'closed_in')
local orders = tonumber(ARGV[5])
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' or inventory[3] ~= instance_id
  or redis.call('HLEN', KEYS[2]) ~= orders then
  return { 'other_epoch' }
end
local available = tonumber(ARGV[2]) - tonumber(ARGV[3]) - tonumber(ARGV[4])
redis.call('HSET', KEYS[1],
  'allotment', ARGV[2], 'available', available, 'reserved', ARGV[4], 'sold', ARGV[3], 'orders', orders,
  'starts_at', ARGV[6], 'ends_at', ARGV[7], 'per_buyer_limit', ARGV[8], 'paused', ARGV[9],
  'version', ARGV[10], 'instance_id', instance_id)
redis.call('HDEL', KEYS[1], 'closed_in', 'next_pass')
-- A reaper that claimed orders before the close may have counted redeliveries since, also of ended orders.
redis.call('UNLINK', KEYS[3])
return { 'opened', available }
