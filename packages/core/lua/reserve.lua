-- Decides a batch of orders of one sale, one after another, and takes the units of those accepted.
-- The checks of an order: idempotency key, the buyer's bucket, permits, then the sale. A key that
-- already has an order returns it, regardless of limits and sale. A refusal by a limit takes
-- neither a token nor a permit. All orders are decided before the first write: Redis does not roll
-- back.
-- Includes: instance-id, reservation, buyer-buckets
-- Keeps: I1, I2, I4, I6, I11
-- KEYS: inventory, reservations, buyers, orderKeys, buckets0, buckets1
-- ARGV
--   1 permits        orders that the global rate limiter lets through; -1 = no limit
--   2 capacity       tokens in a full bucket; 0 = no limit per buyer
--   3 refill rate    tokens a second
--   4 bucket ttl     seconds; a bucket that is full again is kept for a shorter time
--   5 backlog limit  reservations that the sale may have at a time
--   6 orders         JSON: [[order id, quantity, request id, buyer, key ('' = none)], …]
-- Returns
--   unknown_sale | recovering
--   decided, available, permits left, now ms, epoch, text: word, number, tokens × 1,000 per order
--     reserved | system_limited | paused | ended | sold_out | ledger_behind   0
--     replayed           order id; tokens are negative
--     key_reused         0; tokens are negative: the key has an order of another quantity
--     buyer_limited      ms until the buyer's next token
--     not_open           ms until the sale opens
--     not_enough_units   units that are left
--     over_buyer_limit   units that the buyer holds
local inventory = redis.call('HMGET', KEYS[1], 'available', 'reserved', 'paused', 'starts_at',
  'ends_at', 'per_buyer_limit', 'instance_id', 'epoch', 'orders')
if not inventory[1] and not inventory[7] then
  return { 'unknown_sale' }
end
if inventory[7] ~= instance_id then
  return { 'recovering' }
end
local available, reserved = tonumber(inventory[1]), tonumber(inventory[2])
local paused, starts_at, ends_at = inventory[3] == '1', tonumber(inventory[4]), tonumber(inventory[5])
local per_buyer_limit, orders_before = tonumber(inventory[6]), tonumber(inventory[9])
local permits, capacity, refill_rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local backlog_free = tonumber(ARGV[5]) - orders_before
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)

-- Whole numbers as text. Formatting one takes Lua 0.3 µs, and a batch repeats a few of them.
local texts = {}
local function text_of(number)
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

local now_ms_text = text_of(now_ms)

local window_word, window_number = nil, 0
if now_ms >= ends_at then
  window_word = 'ended'
elseif paused then
  window_word = 'paused'
elseif now_ms < starts_at then
  window_word, window_number = 'not_open', starts_at - now_ms
end

-- Read buckets, buyers and keys of the whole batch, with one command for each.
local orders = cjson.decode(ARGV[6])
local buyers, key_fields, has_keys = {}, {}, false
for n, order in ipairs(orders) do
  buyers[n], key_fields[n] = order[4], ''
  if order[5] ~= '' then
    key_fields[n], has_keys = order[4] .. ' ' .. order[5], true
  end
end
local newer, older
if capacity > 0 then
  newer, older = read_buckets(KEYS[5], KEYS[6], buyers)
end
local holdings = per_buyer_limit > 0 and redis.call('HMGET', KEYS[3], unpack(buyers)) or {}
if per_buyer_limit > 0 and redis.call('EXISTS', KEYS[3]) == 0
  and reserved + tonumber(redis.call('HGET', KEYS[1], 'sold')) > 0 then
  -- Units are gone and nobody holds any: Redis lost the buyers, and a worker restores them.
  return { 'recovering' }
end
local known_orders = has_keys and redis.call('HMGET', KEYS[4], unpack(key_fields)) or {}

-- What the batch has changed so far, for later orders of the same buyer.
local buckets, held, keyed = {}, {}, {}
local reservations, decisions, taken = {}, {}, 0

for n, order in ipairs(orders) do
  local order_id, quantity, request_id, buyer, order_key = unpack(order)
  local word, number, tokens = nil, 0, capacity

  local key_field = order_key ~= '' and key_fields[n]
  local known = key_field and (keyed[key_field] or known_orders[n])
  if known then
    local known_id, known_quantity = string.match(known, '^(%S+) (%d+)$')
    if tonumber(known_quantity) == quantity then
      word, number = 'replayed', known_id
    else
      word = 'key_reused'
    end
    tokens = -1
  end

  if not word and capacity > 0 then
    tokens = buckets[buyer]
    if not tokens then
      local is_set_back
      tokens, is_set_back = tokens_of(newer, older, n, capacity, refill_rate, now_us)
      if is_set_back then
        -- Write it even if this order is refused, so that it refills by the new clock.
        buckets[buyer] = tokens
      end
    end
    if tokens < 1 then
      word, number = 'buyer_limited', math.ceil((1 - tokens) * 1000 / refill_rate)
    end
  end
  if not word and permits == 0 then
    word = 'system_limited'
  end

  if not word then
    if permits > 0 then
      permits = permits - 1
    end
    if capacity > 0 then
      tokens = tokens - 1
      buckets[buyer] = tokens
    end
    local holds = per_buyer_limit > 0 and (held[buyer] or tonumber(holdings[n] or '0')) or 0
    if window_word then
      word, number = window_word, window_number
    elseif available == 0 then
      word = 'sold_out'
    elseif per_buyer_limit > 0 and holds + quantity > per_buyer_limit then
      word, number = 'over_buyer_limit', holds
    elseif quantity > available then
      word, number = 'not_enough_units', available
    elseif backlog_free <= 0 then
      word = 'ledger_behind'
    else
      word = 'reserved'
      backlog_free = backlog_free - 1
      available = available - quantity
      taken = taken + quantity
      if per_buyer_limit > 0 then
        held[buyer] = holds + quantity
      end
      if key_field then
        keyed[key_field] = order_id .. ' ' .. quantity
      end
      reservations[#reservations + 1] = order_id
      reservations[#reservations + 1] = encode_reservation(
        text_of(quantity), now_ms_text, request_id, text_of(#order_key), order_key, buyer)
    end
  end
  decisions[3 * n - 2], decisions[3 * n - 1] = word, number
  decisions[3 * n] = text_of(math.floor(tokens * 1000))
end

-- From here on only writes.
local function write_fields(key, values)
  local fields = {}
  for field, value in pairs(values) do
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
  end
end
if next(buckets) then
  -- A few seconds more than a bucket takes to fill, so that the hashes are rarely swapped.
  local kept_for = math.min(tonumber(ARGV[4]), 5 + math.ceil(capacity / refill_rate))
  write_buckets(newer, older, buckets, kept_for, now_us)
end
if taken > 0 then
  redis.call('HSET', KEYS[2], unpack(reservations))
  write_fields(KEYS[4], keyed)
  write_fields(KEYS[3], held)
  redis.call('HSET', KEYS[1], 'available', available, 'reserved', reserved + taken,
    'orders', orders_before + #reservations / 2)
end
return { 'decided', available, permits, now_ms, inventory[8], table.concat(decisions, ' ') }
