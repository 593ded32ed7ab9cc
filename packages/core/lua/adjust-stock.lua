-- adjust-stock
--   Adds units to a sale, or withdraws units that nobody was promised. Each change has an id and is decided once; asked
--   again it answers what it answered first.
-- KEYS
--   1 gate            hash of the sale's settings and numbers
--   2 stock changes   hash change id -> applied or refused
-- ARGV
--   1 change id
--   2 delta           units; negative withdraws
-- Returns
--   applied, available
--   refused, available
--   unknown_sale
-- Keeps
--   I1 conservation, I2 never oversold
local available = redis.call('HGET', KEYS[1], 'available')
if not available then
  return { 'unknown_sale' }
end
available = tonumber(available)
local decided = redis.call('HGET', KEYS[2], ARGV[1])
if decided then
  return { decided, available }
end
local delta = tonumber(ARGV[2])
if available + delta < 0 then
  redis.call('HSET', KEYS[2], ARGV[1], 'refused')
  return { 'refused', available }
end
redis.call('HSET', KEYS[2], ARGV[1], 'applied')
redis.call('HINCRBY', KEYS[1], 'allotment', delta)
return { 'applied', redis.call('HINCRBY', KEYS[1], 'available', delta) }
