-- adjust-stock
--   Adds units to a sale, or withdraws units that nobody was promised. Each change has an id and is decided once; asked
--   again it answers what it answered first.
-- KEYS
--   1 inventory            hash of the sale's settings and numbers
--   2 stock changes   hash change id -> applied or refused
-- ARGV
--   1 change id
--   2 delta           units; negative withdraws
-- Returns
--   applied, available, epoch
--   refused, available, epoch
--   recovering
-- Keeps
--   I1 conservation, I2 never oversold, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'available', 'epoch')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
local available = tonumber(inventory[2])
local decided = redis.call('HGET', KEYS[2], ARGV[1])
if decided then
  return { decided, available, inventory[3] }
end
local delta = tonumber(ARGV[2])
if available + delta < 0 then
  redis.call('HSET', KEYS[2], ARGV[1], 'refused')
  return { 'refused', available, inventory[3] }
end
redis.call('HSET', KEYS[2], ARGV[1], 'applied')
redis.call('HINCRBY', KEYS[1], 'allotment', delta)
return { 'applied', redis.call('HINCRBY', KEYS[1], 'available', delta), inventory[3] }
