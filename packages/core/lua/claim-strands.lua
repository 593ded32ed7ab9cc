-- claim-strands
--   Looks through some of the reservations, and takes those that stayed unsettled for too long into the caller's hands: their
--   clock starts anew, so that no other worker claims them at the same time and nobody claims them for ever if this one dies.
-- KEYS
--   1 gate           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 claims         hash order id -> ms at which the sweep last took it into its hands
--   4 hand overs     hash order id -> hand-overs by the sweep
-- ARGV
--   1 age            ms
--   2 cursor         where to look: 0 = from the beginning, else what the call before has answered
--   3 count          orders to look at, about
-- Returns
--   claimed, epoch, cursor (0 = the end), now ms, since ms the others wait ('' = none), then three for each order: id, reservation, hand-overs
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
local due_ms = now_ms - tonumber(ARGV[1])
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local oldest
local found = {}
for i = 1, #page[2], 2 do
  local order_id, reservation = page[2][i], page[2][i + 1]
  -- One that cannot be read waits since ever.
  local since = tonumber(string.match(reservation, '^%d+|(%d+)|') or '0')
  if since <= due_ms then
    since = tonumber(redis.call('HGET', KEYS[3], order_id) or since)
  end
  if since <= due_ms then
    redis.call('HSET', KEYS[3], order_id, string.format('%.0f', now_ms))
    found[#found + 1] = order_id
    found[#found + 1] = reservation
    found[#found + 1] = tonumber(redis.call('HGET', KEYS[4], order_id) or '0')
  elseif not oldest or since < oldest then
    oldest = since
  end
end
return { 'claimed', gate[2], page[1], string.format('%.0f', now_ms), oldest and string.format('%.0f', oldest) or '', unpack(found) }
