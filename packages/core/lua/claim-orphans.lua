-- claim-orphans
--   Looks at some of the reservations, and takes those that stayed uncommitted for too long into the caller's hands: their clock starts
--   anew, so that no other worker claims them at the same time and nobody claims them for ever if this one dies. Looks follow each
--   other in a pass over all reservations. A pass tells when the next one can find something, and before that none begins, of no
--   worker; nor before Redis had 25 times as long for others as the pass takes, or the longest pause is over.
-- KEYS
--   1 inventory           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 claims         hash order id -> ms at which the reaper last took it into its hands
--   4 redeliveries     hash order id -> redeliveries by the reaper
-- ARGV
--   1 age            ms
--   2 longest pause  ms from the end of a pass after which the next one may begin in any case
--   3 count          orders to look at, about
--   4 cursor         0 = a pass begins; else what the look before has answered
--   5 waiting since  '' = a pass begins; else what the look before has answered
-- Returns
--   claimed, epoch, cursor (0 = the pass is over), waiting since ms, orphans: three each: order id, reservation, redeliveries so far
--   recovering
-- Keeps
--   I3 every accepted order ends, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'next_pass')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local age, longest_pause = tonumber(ARGV[1]), tonumber(ARGV[2])
local orders = redis.call('HLEN', KEYS[2])
-- A look takes 4 µs for each order. Never longer than the longest: what is further ahead than that is of a clock that was set back.
local shortest_pause = math.min(math.ceil(orders / 10), longest_pause)
local function begin_next_pass_at(ms)
  redis.call('HSET', KEYS[1], 'next_pass', string.format('%.0f', ms))
end
if ARGV[4] == '0' then
  local next_pass = tonumber(inventory[3] or '0')
  if orders == 0 or now_ms < next_pass and next_pass <= now_ms + longest_pause then
    return { 'claimed', inventory[2], '0', '', {} }
  end
  begin_next_pass_at(now_ms + shortest_pause)
end

-- What is reserved while the pass lasts, it may not see.
local waiting_since = tonumber(ARGV[5]) or now_ms
local anything_claimed = redis.call('EXISTS', KEYS[3]) == 1
local page = redis.call('HSCAN', KEYS[2], ARGV[4], 'COUNT', ARGV[3])
local orphans = {}
for i = 1, #page[2], 2 do
  local order_id, reservation = page[2][i], page[2][i + 1]
  local since = tonumber(anything_claimed and redis.call('HGET', KEYS[3], order_id)
    or string.match(reservation, '^%d+|(%d+)|'))
  -- One that cannot be read waits since ever; so does one of a time that is still to come: the clock was set back.
  if not since or since > now_ms then
    since = 0
  end
  if since <= now_ms - age then
    redis.call('HSET', KEYS[3], order_id, string.format('%.0f', now_ms))
    orphans[#orphans + 1] = order_id
    orphans[#orphans + 1] = reservation
    orphans[#orphans + 1] = tonumber(redis.call('HGET', KEYS[4], order_id) or '0')
  else
    waiting_since = math.min(waiting_since, since)
  end
end
if page[1] == '0' then
  begin_next_pass_at(math.min(math.max(waiting_since + age, now_ms + shortest_pause), now_ms + longest_pause))
end
return { 'claimed', inventory[2], page[1], string.format('%.0f', waiting_since), orphans }
