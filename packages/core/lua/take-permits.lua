-- Takes permits for orders from the global rate limiter: a window of 1,000 ms that slides in slots
-- of 20 ms. A slot counts until all of it is older than 1,020 ms, because a process may use permits
-- 20 ms later. So no 1,000 ms get more than the limit; a steady flood gets 25 of 26 parts of it.
-- Keeps: I9
-- KEYS: window
-- ARGV: limit (orders a second), wanted, ttl (seconds)
-- Returns: permits, granted, slot, remaining, ms until the next permit
local slot_us, slots = 20000, 51
local limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local slot = math.floor(now_us / slot_us)
local window = redis.call('HGETALL', KEYS[1])
local taken, oldest, outdated = 0, slot, {}
for i = 1, #window, 2 do
  local at = tonumber(window[i])
  -- Slots further ahead were written before the clock was set back.
  if at < slot - slots or at > slot + slots then
    outdated[#outdated + 1] = window[i]
  else
    taken, oldest = taken + tonumber(window[i + 1]), math.min(oldest, at)
  end
end
local free = math.max(0, limit - taken)
local granted = math.min(wanted, free)
if #outdated > 0 then
  redis.call('HDEL', KEYS[1], unpack(outdated))
end
if granted > 0 then
  redis.call('HINCRBY', KEYS[1], slot, granted)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
local wait_ms = 0
if granted < wanted then
  wait_ms = math.max(1, math.ceil((oldest * slot_us + 1000000 - now_us) / 1000))
end
return { 'permits', granted, slot, free - granted, wait_ms }
