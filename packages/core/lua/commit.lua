-- commit
--   Tells the inventory that the ledger has confirmed these orders: their units go from reserved to sold, their reservations
--   end. An order without a reservation was settled or released before: nothing changes, so calling twice is safe. In
--   another epoch nothing is changed either: the inventory was, or will be, rebuilt from a ledger that has these orders.
-- KEYS
--   1 inventory           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 claims         hash order id -> ms at which the reaper last took it into its hands
--   4 redeliveries     hash order id -> redeliveries by the reaper
-- ARGV
--   1 epoch   that the caller speaks for
--   2.. order ids
-- Returns
--   committed, orders, units
--   other_epoch
-- Keeps
--   I1 conservation, I7 status never moves backwards, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
local reservations = redis.call('HMGET', KEYS[2], unpack(ARGV, 2))
local seen, ended, units = {}, {}, 0
for i = 2, #ARGV do
  local order_id, reservation = ARGV[i], reservations[i - 1]
  if reservation and not seen[order_id] then
    seen[order_id] = true
    ended[#ended + 1] = order_id
    units = units + tonumber(string.match(reservation, '^(%d+)|'))
  end
end
if #ended > 0 then
  redis.call('HDEL', KEYS[2], unpack(ended))
  -- Nearly always there is none: no order of the sale has orphaned.
  if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
    redis.call('HDEL', KEYS[3], unpack(ended))
    redis.call('HDEL', KEYS[4], unpack(ended))
  end
  redis.call('HINCRBY', KEYS[1], 'reserved', -units)
  redis.call('HINCRBY', KEYS[1], 'sold', units)
  redis.call('HINCRBY', KEYS[1], 'orders', -#ended)
end
return { 'committed', #ended, units }
