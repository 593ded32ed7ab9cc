-- settle
--   Tells the gate that the ledger has confirmed these orders: their units go from reserved to sold, their reservations
--   end. An order without a reservation was settled or released before: nothing changes, so calling twice is safe.
-- KEYS
--   1 gate           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 unsettled      sorted set of order ids by the ms they were last handed over
--   4 hand overs     hash order id -> hand-overs by the sweep
-- ARGV
--   1.. order ids
-- Returns
--   settled, orders, units
--   unknown_sale
-- Keeps
--   I1 conservation, I7 status never moves backwards
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { 'unknown_sale' }
end
local ended, orders, units = {}, 0, 0
for i = 1, #ARGV do
  local order_id = ARGV[i]
  local reservation = not ended[order_id] and redis.call('HGET', KEYS[2], order_id)
  if reservation then
    ended[order_id] = true
    orders = orders + 1
    units = units + tonumber(string.match(reservation, '^(%d+)|'))
  end
end
if orders > 0 then
  redis.call('HDEL', KEYS[2], unpack(ARGV))
  redis.call('ZREM', KEYS[3], unpack(ARGV))
  redis.call('HDEL', KEYS[4], unpack(ARGV))
  redis.call('HINCRBY', KEYS[1], 'reserved', -units)
  redis.call('HINCRBY', KEYS[1], 'sold', units)
end
return { 'settled', orders, units }
