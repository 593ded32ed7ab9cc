-- Returns unused permits, of orders that the buyer's bucket refused: refusals of one flooder must
-- not use up the global limit.
-- Keeps: I9
-- KEYS: window
-- ARGV: slot in which they were taken, unused permits
-- Returns: returned
local taken, unused = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), tonumber(ARGV[2])
if taken > unused then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -unused)
elseif taken > 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return { 'returned' }
