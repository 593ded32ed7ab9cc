-- reserve
--   Decides a batch of orders of one sale in the order they came, and takes the units of those that get them.
--   Each order passes the buyer's bucket, then the system's permits, then the sale's own checks. Every order is decided
--   before the first write, for Redis does not roll back. A refusal by a limit takes neither a token nor a permit. An order
--   whose idempotency key has an order already is that order again, whatever the limits and the sale say by now. An inventory
--   that was opened under another life of Redis decides nothing.
-- KEYS
--   1 inventory           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 buyers         hash buyer -> units held (only where the sale has a cap)
--   4 order keys     hash buyer, space, idempotency key -> order id, space, quantity
--   5 buckets        hash buyer -> tokens:at µs, ' since' -> ms since which new ones are written here, ' kept for' -> seconds that they need
--   6 buckets        the same: one of the two is the newer, the other the older
-- ARGV
--   1 permits        orders that the global rate limiter lets through; -1 = no such limit
--   2 capacity       tokens in a full bucket; 0 = no limit per buyer
--   3 refill rate    tokens a second
--   4 bucket ttl     seconds for which a bucket need be kept at most; it need not once it would be full again
--   5 backlog limit  orders of this sale that may be reserved at a time
--   6 orders         JSON, five each: [[order id, quantity, request id, buyer, idempotency key ('' = none)], …]
-- Returns
--   unknown_sale
--   recovering
--   decided, available, permits left, reserved at ms, epoch, then one text of three for each order: word, number, thousandths of his tokens
--     reserved           0
--     replayed           order id; tokens are below 0
--     key_reused         0; tokens are below 0: another quantity came with the same key
--     buyer_limited      ms until the buyer's next token
--     system_limited     0
--     paused             0
--     not_open           ms until the sale opens
--     ended              0
--     sold_out           0
--     not_enough_units   units that are left
--     over_buyer_limit   units that the buyer holds
--     ledger_behind      0
-- Keeps
--   I1 conservation, I2 never oversold, I4 one order a key, I6 buyer's cap, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'available', 'reserved', 'paused', 'starts_at', 'ends_at', 'per_buyer_limit',
  'instance_id', 'epoch', 'orders')
if not inventory[1] and not inventory[7] then
  return { 'unknown_sale' }
end
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[7] ~= instance_id then
  return { 'recovering' }
end
local available, reserved = tonumber(inventory[1]), tonumber(inventory[2])
local paused, starts_at, ends_at = inventory[3] == '1', tonumber(inventory[4]), tonumber(inventory[5])
local per_buyer_limit = tonumber(inventory[6])
local permits, capacity, refill_rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket_ttl = tonumber(ARGV[4])
-- None where the inventory is of the version before, which did not count: check-inventory will find that, and it is rebuilt.
local orders_before = tonumber(inventory[9] or '0')
local backlog_free = tonumber(ARGV[5]) - orders_before

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local now_ms_text = string.format('%.0f', now_ms)

-- Lua writes a number as text for 0.3 µs, and a batch has the same few of them again and again.
local function once_each(text_of)
  local texts = {}
  return function(number)
    local text = texts[number]
    if not text then
      text = text_of(number)
      texts[number] = text
    end
    return text
  end
end
local thousandths = once_each(function(tokens)
  return string.format('%.0f', math.floor(tokens * 1000))
end)
local reservation_begin = once_each(function(quantity)
  return quantity .. '|' .. now_ms_text .. '|'
end)
local bucket_text = once_each(function(tokens)
  return string.format('%.6f:%.0f', tokens, now_us)
end)

local closed_word, closed_number = nil, 0
if now_ms >= ends_at then
  closed_word = 'ended'
elseif paused then
  closed_word = 'paused'
elseif now_ms < starts_at then
  closed_word, closed_number = 'not_open', starts_at - now_ms
end

-- What there is of the batch's buckets, buyers and keys: one command each, however many orders there are.
local orders = cjson.decode(ARGV[6])
local buyers, key_fields = {}, {}
for n, order in ipairs(orders) do
  local buyer, order_key = order[4], order[5]
  buyers[n] = buyer
  if order_key ~= '' then
    -- A buyer's id holds no space, so that buyer and key cannot be taken for another pair.
    key_fields[#key_fields + 1] = buyer .. ' ' .. order_key
  end
end
-- Buckets are in two hashes. Once the newer one has been that for as long as any bucket of the older takes to be full, all in the older one
-- are full, which is the same as none: it is emptied, and becomes the newer.
local newer, older = { key = KEYS[5] }, { key = KEYS[6] }
if capacity > 0 then
  for _, half in ipairs({ newer, older }) do
    half.texts = redis.call('HMGET', half.key, ' since', ' kept for', unpack(buyers))
    half.since, half.kept_for = tonumber(half.texts[1] or '0'), tonumber(half.texts[2] or '0')
  end
  if older.since > newer.since then
    newer, older = older, newer
  end
end
local holdings = per_buyer_limit > 0 and redis.call('HMGET', KEYS[3], unpack(buyers)) or {}
local known_orders = {}
if #key_fields > 0 then
  for n, order in ipairs(redis.call('HMGET', KEYS[4], unpack(key_fields))) do
    known_orders[key_fields[n]] = order
  end
end

-- What the batch has changed so far, by key, so that two orders of one buyer in one batch see each other.
local buckets, held, keyed = {}, {}, {}
local new_reservations = {}
local decisions = {}
local taken = 0

for n, order in ipairs(orders) do
  local order_id, quantity, request_id, buyer, order_key = unpack(order)
  local word, number = nil, 0

  local tokens = capacity
  local key_field = order_key ~= '' and buyer .. ' ' .. order_key
  local known = key_field and (keyed[key_field] or known_orders[key_field])
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
      local bucket = newer.texts[n + 2] or older.texts[n + 2]
      tokens = capacity
      if bucket then
        local left, at_us = string.match(bucket, '^([^:]+):(.+)$')
        local elapsed_us = math.max(0, now_us - tonumber(at_us))
        tokens = math.min(capacity, tonumber(left) + elapsed_us * refill_rate / 1000000)
        if tonumber(at_us) > now_us then
          -- The clock was set back: from now on the bucket refills by the new one, even where this order is refused.
          buckets[buyer] = tokens
        end
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
    if closed_word then
      word, number = closed_word, closed_number
    elseif available == 0 then
      word = 'sold_out'
    else
      local holds = 0
      if per_buyer_limit > 0 then
        holds = held[buyer] or tonumber(holdings[n] or '0')
      end
      if per_buyer_limit > 0 and holds + quantity > per_buyer_limit then
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
        local at = #new_reservations
        new_reservations[at + 1] = order_id
        new_reservations[at + 2] = key_field
          and reservation_begin(quantity) .. request_id .. '|' .. #order_key .. '|' .. order_key .. buyer
          or reservation_begin(quantity) .. request_id .. '|0|' .. buyer
        if key_field then
          keyed[key_field] = order_id .. ' ' .. quantity
        end
      end
    end
  end
  decisions[3 * n - 2], decisions[3 * n - 1], decisions[3 * n] = word, number, thousandths(tokens)
end

-- Fields and values of a table in a row, as HSET takes them.
local function in_a_row(fields)
  local row = {}
  for field, value in pairs(fields) do
    row[#row + 1] = field
    row[#row + 1] = value
  end
  return unpack(row)
end

-- From here on only writes. Buckets stay in this Redis alone, are added to no file of it and go to no replica: one that is lost is a full one,
-- which a buyer gets by waiting some seconds, and they would be a quarter of all that an order adds to the file.
if next(buckets) then
  -- A few seconds more, so that they take turns seldom.
  local kept_for = math.min(bucket_ttl, 5 + math.ceil(capacity / refill_rate))
  -- Another process may have other settings: what it wrote is kept for as long as it needs.
  local longest = math.max(kept_for, newer.kept_for, older.kept_for)
  redis.set_repl(redis.REPL_NONE)
  local age, row = now_ms - newer.since, {}
  local is_set_back = age < 0
  if age >= math.max(kept_for, older.kept_for) * 1000 or is_set_back then
    -- Not left to its time to live: where a hash expires, Redis may stand still until all of it is freed.
    redis.call('UNLINK', older.key)
    row[1], row[2] = ' since', now_ms_text
    -- Where the clock was set back, the newer one stays that, and counts anew: else it would be the newer until the old time comes again.
    if not is_set_back then
      newer, older = older, newer
      newer.kept_for = 0
      -- No longer than it is needed, which is shorter than the newer one stays: else its words would be the newest some day.
      redis.call('EXPIRE', older.key, string.format('%.0f', math.max(kept_for, older.kept_for)))
    end
  end
  if kept_for > newer.kept_for then
    row[#row + 1] = ' kept for'
    row[#row + 1] = string.format('%.0f', kept_for)
  end
  for buyer, tokens in pairs(buckets) do
    row[#row + 1] = buyer
    row[#row + 1] = bucket_text(tokens)
  end
  redis.call('HSET', newer.key, unpack(row))
  redis.call('EXPIRE', newer.key, string.format('%.0f', 2 * longest))
  redis.set_repl(redis.REPL_ALL)
end
if taken > 0 then
  redis.call('HSET', KEYS[1], 'available', available, 'reserved', reserved + taken,
    'orders', orders_before + #new_reservations / 2)
  redis.call('HSET', KEYS[2], unpack(new_reservations))
  if next(keyed) then
    redis.call('HSET', KEYS[4], in_a_row(keyed))
  end
  if next(held) then
    redis.call('HSET', KEYS[3], in_a_row(held))
  end
end
return { 'decided', available, permits, now_ms_text, inventory[8], table.concat(decisions, ' ') }
