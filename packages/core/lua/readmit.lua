-- readmit
--   Takes units for orders that were accepted in an earlier epoch and whose reservations Redis has lost: each gets its reservation
--   again where there is still room for it. The ledger is asked first, under the lock of the sale's row, and has none of these orders;
--   but PostgreSQL may take that lock away from whoever stands still, and a command may come long after it was sent. So the inventory
--   remembers which orders of earlier epochs it has had: one of them that has no reservation any more has ended meanwhile.
-- KEYS
--   1 inventory             hash of the sale's settings and numbers
--   2 reservations     hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 buyers           hash buyer -> units held (only where the sale has a cap)
--   4 order keys       hash buyer, space, idempotency key -> order id, space, quantity
--   5 earlier orders   set of order ids of earlier epochs that this inventory has, or has had
-- ARGV
--   1 epoch          that the caller speaks for
--   2.. orders       six each: order id, quantity, reserved at ms, request id, buyer, idempotency key ('' = none)
-- Returns
--   other_epoch
--   decided, then a word for each order
--     readmitted
--     known              its reservation is there
--     ended              its reservation was there in this epoch: the ledger has it by now, and is to be asked again
--     no_room            fewer units are available
--     over_buyer_limit   the buyer has ordered again since, up to the cap
--     key_taken          the buyer has another order under the key by now
-- Keeps
--   I1 conservation, I2 never oversold, I4 one order a key, I6 buyer's cap, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'available', 'per_buyer_limit')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id or inventory[2] ~= ARGV[1] then
  return { 'other_epoch' }
end
local available, per_buyer_limit = tonumber(inventory[3]), tonumber(inventory[4])
local reply = { 'decided' }
-- Each order is decided and then written, one after the other; none is refused once something of it was written.
for i = 2, #ARGV, 6 do
  local order_id, quantity, reserved_at, request_id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local buyer, order_key = ARGV[i + 4], ARGV[i + 5]
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
      string.format('%d|%s|%s|%d|%s%s', quantity, reserved_at, request_id, #order_key, order_key, buyer))
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
