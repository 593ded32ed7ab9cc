-- claim-strands
--   Takes reservations that stayed unsettled for too long into the caller's hands: their clock starts anew, so that no
--   other worker claims them at the same time and nobody claims them for ever if this one dies.
-- KEYS
--   1 gate           hash of the sale's settings and numbers
--   2 unsettled      sorted set of order ids by the ms they were last handed over
--   3 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   4 hand overs     hash order id -> hand-overs by the sweep
-- ARGV
--   1 age            ms
--   2 limit          orders
-- Returns
--   claimed, epoch, then three for each order: order id, reservation, hand-overs so far
--   recovering
-- Keeps
--   I3 every accepted order ends, I11 one life at a time
local gate = redis.call('HMGET', KEYS[1], 'run_id', 'epoch')
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if gate[1] ~= life then
  return { 'recovering' }
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local order_ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now_ms - tonumber(ARGV[1])),
  'LIMIT', 0, ARGV[2])
local reply = { 'claimed', gate[2] }
for i = 1, #order_ids do
  local order_id = order_ids[i]
  local reservation = redis.call('HGET', KEYS[3], order_id)
  -- One without a reservation stays, too: only a loss leaves that, and it is how check-gate notices.
  redis.call('ZADD', KEYS[2], string.format('%.0f', now_ms), order_id)
  if reservation then
    reply[#reply + 1] = order_id
    reply[#reply + 1] = reservation
    reply[#reply + 1] = tonumber(redis.call('HGET', KEYS[4], order_id) or '0')
  end
end
return reply
