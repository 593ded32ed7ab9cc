-- Returns unused permits, of orders that the buyer's bucket refused: refusals of one flooder must
-- not use up the global limit.
-- Keeps: I9
-- KEYS: window
-- ARGV: second in which they were taken, unused permits
-- Returns: returned
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
