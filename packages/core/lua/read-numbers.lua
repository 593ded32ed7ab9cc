-- The numbers of sales, and Redis' clock, at one instant.
-- Includes: instance-id
-- Keeps: nothing, it only reads
-- KEYS: inventory …
-- Returns
--   read, now ms, and for each inventory:
--   numbers, allotment, available, reserved, sold
--   recovering
--   unknown_sale
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = {}
for i, key in ipairs(KEYS) do
  local inventory =
    redis.call('HMGET', key, 'allotment', 'available', 'reserved', 'sold', 'instance_id')
  local word = 'numbers'
  if not inventory[1] and not inventory[5] then
    word = 'unknown_sale'
  elseif inventory[5] ~= instance_id then
    word = 'recovering'
  end
  found[i] = { word, inventory[1], inventory[2], inventory[3], inventory[4] }
end
return { 'read', now_ms, found }
