-- take-permits
--   Asks the system-wide sliding window for a batch of orders. The window is estimated from two seconds: what the present
--   one has let through, plus the part of the previous one that still lies within the last 1,000 ms.
-- KEYS
--   1 window   hash: second, present, previous
-- ARGV
--   1 limit    orders a second
--   2 wanted   orders
--   3 ttl      seconds
-- Returns
--   permits, granted, second, remaining, ms until a permit can be had again, ms that are left of the second
-- Keeps
--   I9 the system's limit
local limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local second, fraction = tonumber(time[1]), tonumber(time[2]) / 1000000
local window = redis.call('HMGET', KEYS[1], 'second', 'present', 'previous')
local present, previous = 0, 0
if window[1] then
  local age = second - tonumber(window[1])
  -- A clock that was set back by a moment goes on in the second that was begun; set back further, the window starts anew.
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
  -- Within this second a permit comes free as the previous one slides out; in a second that is full, only in the next.
  local slides = previous > 0 and present + 1 <= limit and (1 - fraction) - (limit - present - 1) / previous
  if not slides or slides < 0 then
    slides = 1 - fraction
  end
  wait_ms = math.ceil(slides * 1000)
end
return { 'permits', granted, second, free - granted, wait_ms, math.floor((1 - fraction) * 1000) }
