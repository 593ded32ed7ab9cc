-- Adds units to a sale, or withdraws units that no order holds. Each change id is decided once; a
-- repeated call returns the first decision.
-- Includes: instance-id
-- Runs: while Redis is full
-- Keeps: I1, I2, I11
-- KEYS: inventory, stockChanges
-- ARGV: change id, delta (units; negative withdraws)
-- Returns: applied, available, epoch | refused, available, epoch | recovering
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'available', 'epoch')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
local available, delta = tonumber(inventory[2]), tonumber(ARGV[2])
local word = redis.call('HGET', KEYS[2], ARGV[1])
if not word then
  if available + delta < 0 then
    word = 'refused'
  else
    word = 'applied'
    available = available + delta
    redis.call('HINCRBY', KEYS[1], 'allotment', delta)
    redis.call('HINCRBY', KEYS[1], 'available', delta)
  end
  redis.call('HSET', KEYS[2], ARGV[1], word)
end
return { word, available, inventory[3] }
