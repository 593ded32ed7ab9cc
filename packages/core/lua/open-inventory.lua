-- open-inventory
--   Last step of rebuilding an inventory: numbers and settings from the ledger and the reservations that were left. From here on it
--   admits, in this life of Redis. Where that is not the life it was closed in (what was restored may be gone again), or the
--   reservations are not those that the rebuilder counted, it must begin again. A reaper that had claimed orders before the inventory was closed
--   may have counted redeliveries since, also of orders that are gone: nothing would ever clear those.
-- KEYS
--   1 inventory             hash of the sale's settings and numbers
--   2 reservations     hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 redeliveries       hash order id -> redeliveries by the reaper
-- ARGV
--   1 epoch            that the rebuilder speaks for
--   2 allotment        units
--   3 sold             units
--   4 reserved         units
--   5 orders           reservations that hold them
--   6 starts at        ms since 1970
--   7 ends at          ms since 1970
--   8 per buyer limit  units one buyer may hold; 0 = no cap
--   9 paused           1 or 0
--   10 version         of the ledger's row that these settings came from
-- Returns
--   opened, available
--   other_epoch
-- Keeps
--   I1 conservation, I2 never oversold, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id', 'closed_in')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local orders = tonumber(ARGV[5])
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' or inventory[3] ~= instance_id or redis.call('HLEN', KEYS[2]) ~= orders then
  return { 'other_epoch' }
end
local available = tonumber(ARGV[2]) - tonumber(ARGV[3]) - tonumber(ARGV[4])
redis.call('HSET', KEYS[1],
  'allotment', ARGV[2], 'available', available, 'reserved', ARGV[4], 'sold', ARGV[3], 'orders', orders,
  'starts_at', ARGV[6], 'ends_at', ARGV[7], 'per_buyer_limit', ARGV[8], 'paused', ARGV[9], 'version', ARGV[10],
  'instance_id', instance_id)
redis.call('HDEL', KEYS[1], 'closed_in', 'next_pass')
redis.call('UNLINK', KEYS[3])
return { 'opened', available }
