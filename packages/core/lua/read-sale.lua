-- The numbers of a sale, and Redis' clock, at one instant.
-- Includes: instance-id
-- Keeps: nothing, it only reads
-- KEYS: inventory
-- Returns
--   numbers, now ms, allotment, available, reserved, sold
--   recovering, now ms
--   unknown_sale, now ms
local inventory =
  redis.call('HMGET', KEYS[1], 'allotment', 'available', 'reserved', 'sold', 'instance_id')
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if not inventory[1] and not inventory[5] then
  return { 'unknown_sale', now_ms }
end
if inventory[5] ~= instance_id then
  return { 'recovering', now_ms }
end
return { 'numbers', now_ms, inventory[1], inventory[2], inventory[3], inventory[4] }
