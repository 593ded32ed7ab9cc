-- return-permits
--   Gives back permits that were asked for and not used (the buyer's own bucket refused), so that one flooder's refusals
--   do not use up everybody's window.
-- KEYS
--   1 window   hash: second, present, previous
-- ARGV
--   1 second   in which they were granted
--   2 unused   orders
-- Returns
--   returned
-- Keeps
--   I9 the system's limit
local unused = tonumber(ARGV[2])
local window = redis.call('HMGET', KEYS[1], 'second', 'present', 'previous')
if window[1] then
  local age = tonumber(window[1]) - tonumber(ARGV[1])
  if age == 0 then
    redis.call('HSET', KEYS[1], 'present', math.max(0, tonumber(window[2]) - unused))
  elseif age == 1 then
    redis.call('HSET', KEYS[1], 'previous', math.max(0, tonumber(window[3]) - unused))
  end
end
return { 'returned' }
