-- Takes permits for orders from the global rate limiter. The sliding window is estimated from two
-- seconds: the orders of the present one, plus the part of the previous one that lies within the
-- last 1,000 ms.
-- Keeps: I9
-- KEYS: window
-- ARGV: limit (orders a second), wanted, ttl (seconds)
-- Returns: permits, granted, second, remaining, ms until the next permit, ms left of the second
local limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local second, fraction = tonumber(time[1]), tonumber(time[2]) / 1000000
local window = redis.call('HMGET', KEYS[1], 'second', 'present', 'previous')
local present, previous = 0, 0
if window[1] then
  local age = second - tonumber(window[1])
  -- If the clock was set back slightly, stay in the stored second; if further, start over.
  if age == 0 or age == -1 then
    second, present, previous = tonumber(window[1]), tonumber(window[2]), tonumber(window[3])
  elseif age == 1 then
    previous = tonumber(window[2])
  end
end
local free = math.max(0, math.floor(limit - present - previous * (1 - fraction)))
local granted = math.min(wanted, free)
if granted > 0 then
  redis.call('HSET', KEYS[1], 'second', second, 'present', present + granted, 'previous', previous)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
local wait_ms = 0
if granted < wanted then
  present = present + granted
  -- Permits come free as the previous second slides out, or in the next second.
  local room = limit - present - 1
  local slides = previous > 0 and room >= 0 and (1 - fraction) - room / previous
  if not slides or slides < 0 then
    slides = 1 - fraction
  end
  wait_ms = math.ceil(slides * 1000)
end
return { 'permits', granted, second, free - granted, wait_ms, math.floor((1 - fraction) * 1000) }
