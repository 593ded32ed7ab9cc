-- release
--   Gives the units of these orders back to the sale, once: whoever removes the reservation returns its units, and an
--   order without a reservation was settled or released before.
-- KEYS
--   1 gate           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 unsettled      sorted set of order ids by the ms they were last handed over
--   4 hand overs     hash order id -> hand-overs by the sweep
--   5 buyers         hash buyer -> units held (only where the sale has a cap)
-- ARGV
--   1.. order ids
-- Returns
--   released, orders, units
--   unknown_sale
-- Keeps
--   I1 conservation, I5 a release adds units once, I6 buyer's cap
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { 'unknown_sale' }
end
local orders, units = 0, 0
for i = 1, #ARGV do
  local order_id = ARGV[i]
  local reservation = redis.call('HGET', KEYS[2], order_id)
  if reservation then
    local quantity_text, key_length, rest = string.match(reservation, '^(%d+)|%d+|[^|]*|(%d+)|(.*)$')
    local quantity, buyer = tonumber(quantity_text), string.sub(rest, tonumber(key_length) + 1)
    redis.call('HDEL', KEYS[2], order_id)
    if redis.call('HEXISTS', KEYS[5], buyer) == 1 and redis.call('HINCRBY', KEYS[5], buyer, -quantity) <= 0 then
      redis.call('HDEL', KEYS[5], buyer)
    end
    redis.call('HINCRBY', KEYS[1], 'available', quantity)
    redis.call('HINCRBY', KEYS[1], 'reserved', -quantity)
    orders = orders + 1
    units = units + quantity
  end
  redis.call('ZREM', KEYS[3], order_id)
  redis.call('HDEL', KEYS[4], order_id)
end
return { 'released', orders, units }
