-- claim-strands
--   Takes reservations that stayed unsettled for too long into the caller's hands: their clock starts anew, so that no
--   other worker claims them at the same time and nobody claims them for ever if this one dies.
-- KEYS
--   1 unsettled      sorted set of order ids by the ms they were last handed over
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 hand overs     hash order id -> hand-overs by the sweep
-- ARGV
--   1 age            ms
--   2 limit          orders
-- Returns
--   claimed, then three for each order: order id, reservation, hand-overs so far
-- Keeps
--   I3 every accepted order ends
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local order_ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms - tonumber(ARGV[1])),
  'LIMIT', 0, ARGV[2])
local reply = { 'claimed' }
for i = 1, #order_ids do
  local order_id = order_ids[i]
  local reservation = redis.call('HGET', KEYS[2], order_id)
  if reservation then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), order_id)
    reply[#reply + 1] = order_id
    reply[#reply + 1] = reservation
    reply[#reply + 1] = tonumber(redis.call('HGET', KEYS[3], order_id) or '0')
  else
    redis.call('ZREM', KEYS[1], order_id)
  end
end
return reply
