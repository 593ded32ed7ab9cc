-- Takes units, if there are enough, for orders that an earlier epoch accepted and whose
-- reservations Redis lost. The caller found none of them in the ledger, but that may be outdated by
-- now, so the inventory keeps the ids of earlier orders that it has had: one of them without a
-- reservation has ended.
-- Includes: instance-id, reservation
-- Runs: while Redis is full
-- Keeps: I1, I2, I4, I6, I11
-- KEYS: inventory, reservations, buyers, orderKeys, earlierOrders
-- ARGV
--   1 epoch            of the caller
--   2.. orders         six each: id, quantity, reserved at ms, request id, buyer, key ('' = none)
-- Returns
--   other_epoch          also if Redis lost the buyers: they are restored first
--   decided, then a word for each order
--     readmitted
--     known              it has its reservation
--     ended              it had its reservation in this epoch: the ledger knows the outcome by now
--     no_room            fewer units are available
--     over_buyer_limit   the buyer has ordered again, up to the cap
--     key_taken          another order has the key by now
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'available',
  'per_buyer_limit', 'reserved', 'sold')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
local available, per_buyer_limit = tonumber(inventory[3]), tonumber(inventory[4])
if per_buyer_limit > 0 and tonumber(inventory[5]) + tonumber(inventory[6]) > 0
  and redis.call('EXISTS', KEYS[3]) == 0 then
  return { 'other_epoch' }
end
local reply = { 'decided' }
-- Each order is decided completely before anything of it is written.
for i = 2, #ARGV, 6 do
  local order_id, quantity, reserved_at, request_id, buyer, order_key = unpack(ARGV, i, i + 5)
  quantity = tonumber(quantity)
  local key_field = buyer .. ' ' .. order_key
  local keyed = order_key ~= '' and redis.call('HGET', KEYS[4], key_field)
  local holds = per_buyer_limit > 0 and tonumber(redis.call('HGET', KEYS[3], buyer) or '0') or 0
  local word
  if redis.call('HEXISTS', KEYS[2], order_id) == 1 then
    word = 'known'
    redis.call('SADD', KEYS[5], order_id)
  elseif redis.call('SISMEMBER', KEYS[5], order_id) == 1 then
    word = 'ended'
  elseif keyed and string.match(keyed, '^(%S+) ') ~= order_id then
    word = 'key_taken'
  elseif per_buyer_limit > 0 and holds + quantity > per_buyer_limit then
    word = 'over_buyer_limit'
  elseif quantity > available then
    word = 'no_room'
  else
    word = 'readmitted'
    available = available - quantity
    redis.call('HINCRBY', KEYS[1], 'available', -quantity)
    redis.call('HINCRBY', KEYS[1], 'reserved', quantity)
    redis.call('HINCRBY', KEYS[1], 'orders', 1)
    redis.call('HSET', KEYS[2], order_id,
      encode_reservation(quantity, reserved_at, request_id, #order_key, order_key, buyer))
    redis.call('SADD', KEYS[5], order_id)
    if per_buyer_limit > 0 then
      redis.call('HSET', KEYS[3], buyer, holds + quantity)
    end
    if order_key ~= '' then
      redis.call('HSET', KEYS[4], key_field, order_id .. ' ' .. quantity)
    end
  end
  reply[#reply + 1] = word
end
return reply
