-- Reads one page of the reservations and claims those that have stayed uncommitted for longer than
-- the age. A claim restarts an order's age: no other worker claims it meanwhile, and if this worker
-- dies, another one claims it later. Pages follow each other in a pass over all reservations. At
-- its end a pass stores when the next one can find something; until then no worker starts a pass.
-- Includes: instance-id, reservation
-- Runs: while Redis is full
-- Keeps: I3, I11
-- KEYS: inventory, reservations, claims, redeliveries
-- ARGV
--   1 age            ms
--   2 longest pause  ms after the end of a pass after which the next one may start in any case
--   3 count          reservations per page, about
--   4 cursor         0 = start a pass; else as returned with the page before
--   5 waiting since  '' = start a pass; else as returned with the page before
-- Returns
--   claimed, epoch, cursor (0 = end), waiting since ms, orphans: id, reservation, redeliveries each
--   recovering
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch', 'next_pass')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local age, longest_pause = tonumber(ARGV[1]), tonumber(ARGV[2])
local orders = redis.call('HLEN', KEYS[2])
-- A page takes 4 µs an order, so a pause of 0.1 ms an order leaves Redis 96 % of its time.
local shortest_pause = math.min(math.ceil(orders / 10), longest_pause)
if ARGV[4] == '0' then
  local next_pass = tonumber(inventory[3] or '0')
  -- A time further ahead than the longest pause was written before the clock was set back.
  if orders == 0 or now_ms < next_pass and next_pass <= now_ms + longest_pause then
    return { 'claimed', inventory[2], '0', '', {} }
  end
  redis.call('HSET', KEYS[1], 'next_pass', now_ms + shortest_pause)
end

-- A pass may miss what is reserved while it runs: the next one must not start later than now + age.
local waiting_since = tonumber(ARGV[5]) or now_ms
local anything_claimed = redis.call('EXISTS', KEYS[3]) == 1
local page = redis.call('HSCAN', KEYS[2], ARGV[4], 'COUNT', ARGV[3])
local orphans = {}
for i = 1, #page[2], 2 do
  local order_id, reservation = page[2][i], page[2][i + 1]
  local _, _, reserved_at = decode_reservation(reservation)
  local since = tonumber(anything_claimed and redis.call('HGET', KEYS[3], order_id) or reserved_at)
  -- Claim at once what cannot be read, and what was written before the clock was set back.
  if not since or since > now_ms then
    since = 0
  end
  if since <= now_ms - age then
    redis.call('HSET', KEYS[3], order_id, now_ms)
    orphans[#orphans + 1] = order_id
    orphans[#orphans + 1] = reservation
    orphans[#orphans + 1] = tonumber(redis.call('HGET', KEYS[4], order_id) or '0')
  else
    waiting_since = math.min(waiting_since, since)
  end
end
if page[1] == '0' then
  local earliest = math.max(waiting_since + age, now_ms + shortest_pause)
  redis.call('HSET', KEYS[1], 'next_pass', math.min(earliest, now_ms + longest_pause))
end
return { 'claimed', inventory[2], page[1], waiting_since, orphans }
