-- open-sale
--   Makes the inventory of a sale that never had one. An inventory that exists is left as it is: stock is never reset. The inventory is
--   open in this life of Redis only: after a restart, a failover or a promotion it is another.
-- KEYS
--   1 inventory             hash of the sale's settings and numbers
-- ARGV
--   1 allotment        units
--   2 starts at        ms since 1970
--   3 ends at          ms since 1970
--   4 per buyer limit  units one buyer may hold; 0 = no cap
--   5 paused           1 or 0
--   6 version          of the ledger's row that these settings came from
--   7 epoch            of the ledger's row
-- Returns
--   opened
--   exists
-- Keeps
--   I1 conservation, I2 never oversold, I11 one life at a time
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'exists' }
end
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
redis.call('HSET', KEYS[1],
  'allotment', ARGV[1], 'available', ARGV[1], 'reserved', 0, 'sold', 0, 'orders', 0,
  'starts_at', ARGV[2], 'ends_at', ARGV[3], 'per_buyer_limit', ARGV[4], 'paused', ARGV[5], 'version', ARGV[6],
  'epoch', ARGV[7], 'instance_id', instance_id)
return { 'opened' }
