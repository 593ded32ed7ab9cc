-- Moves the units of orders that the ledger has confirmed from reserved to sold and deletes their
-- reservations. Idempotent: an order without a reservation was committed or released before. Writes
-- nothing in another epoch: that inventory is rebuilt from a ledger that has these orders.
-- Includes: instance-id, reservation
-- Runs: while Redis is full
-- Keeps: I1, I7, I11
-- KEYS: inventory, reservations, claims, redeliveries
-- ARGV: epoch of the caller, order ids …
-- Returns: committed, orders, units | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
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
    units = units + decode_reservation(reservation)
  end
end
if #ended > 0 then
  redis.call('HDEL', KEYS[2], unpack(ended))
  -- Usually neither exists.
  if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
    redis.call('HDEL', KEYS[3], unpack(ended))
    redis.call('HDEL', KEYS[4], unpack(ended))
  end
  redis.call('HINCRBY', KEYS[1], 'reserved', -units)
  redis.call('HINCRBY', KEYS[1], 'sold', units)
  redis.call('HINCRBY', KEYS[1], 'orders', -#ended)
end
return { 'committed', #ended, units }
