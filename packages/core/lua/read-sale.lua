-- read-sale
--   The numbers of a sale at one instant, with the clock that its window is judged by.
-- KEYS
--   1 inventory   hash of the sale's settings and numbers
-- ARGV
--   none
-- Returns
--   numbers, now ms, allotment, available, reserved, sold
--   recovering, now ms
--   unknown_sale, now ms
-- Keeps
--   nothing: it only reads
local inventory = redis.call('HMGET', KEYS[1], 'allotment', 'available', 'reserved', 'sold', 'instance_id')
local time = redis.call('TIME')
local now_ms = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
if not inventory[1] and not inventory[5] then
  return { 'unknown_sale', now_ms }
end
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[5] ~= instance_id then
  return { 'recovering', now_ms }
end
return { 'numbers', now_ms, inventory[1], inventory[2], inventory[3], inventory[4] }
