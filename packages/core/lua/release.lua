-- release
--   Gives the units of these orders back to the sale, once: whoever removes the reservation returns its units, and an
--   order without a reservation was settled or released before. In another epoch nothing is changed, as with commit.
-- KEYS
--   1 inventory           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 claims         hash order id -> ms at which the reaper last took it into its hands
--   4 redeliveries     hash order id -> redeliveries by the reaper
--   5 buyers         hash buyer -> units held (only where the sale has a cap)
-- ARGV
--   1 epoch   that the caller speaks for
--   2.. order ids
-- Returns
--   released, orders, units
--   other_epoch
-- Keeps
--   I1 conservation, I5 a release adds units once, I6 buyer's cap, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
local orders, units = 0, 0
for i = 2, #ARGV do
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
    redis.call('HINCRBY', KEYS[1], 'orders', -1)
    redis.call('HDEL', KEYS[3], order_id)
    redis.call('HDEL', KEYS[4], order_id)
    orders = orders + 1
    units = units + quantity
  end
end
return { 'released', orders, units }
