-- Returns the units of orders to the sale and deletes their reservations. Idempotent: an order
-- without a reservation was committed or released before. Writes nothing in another epoch.
-- Includes: instance-id, reservation
-- Runs: while Redis is full
-- Keeps: I1, I5, I6, I11
-- KEYS: inventory, reservations, claims, redeliveries, buyers
-- ARGV: epoch of the caller, order ids …
-- Returns: released, orders, units | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
local orders, units = 0, 0
for i = 2, #ARGV do
  local order_id = ARGV[i]
  local reservation = redis.call('HGET', KEYS[2], order_id)
  if reservation then
    -- Fails before the first write if the reservation cannot be read.
    local quantity, buyer = assert(decode_reservation(reservation))
    redis.call('HDEL', KEYS[2], order_id)
    redis.call('HDEL', KEYS[3], order_id)
    redis.call('HDEL', KEYS[4], order_id)
    if redis.call('HEXISTS', KEYS[5], buyer) == 1
      and redis.call('HINCRBY', KEYS[5], buyer, -quantity) <= 0 then
      redis.call('HDEL', KEYS[5], buyer)
    end
    redis.call('HINCRBY', KEYS[1], 'available', quantity)
    redis.call('HINCRBY', KEYS[1], 'reserved', -quantity)
    redis.call('HINCRBY', KEYS[1], 'orders', -1)
    orders = orders + 1
    units = units + quantity
  end
end
return { 'released', orders, units }
