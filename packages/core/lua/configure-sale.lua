-- Brings a change of the window or the pause from the ledger into the inventory. An older version
-- never overwrites a newer one, regardless of the order of the calls.
-- Includes: instance-id
-- Runs: while Redis is full
-- Keeps: I8, I11
-- KEYS: inventory
-- ARGV: version of the ledger's row, paused (1 or 0), starts at ms, ends at ms
-- Returns: configured | current | recovering
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'version')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
if tonumber(ARGV[1]) <= tonumber(inventory[2]) then
  return { 'current' }
end
redis.call('HSET', KEYS[1],
  'version', ARGV[1], 'paused', ARGV[2], 'starts_at', ARGV[3], 'ends_at', ARGV[4])
return { 'configured' }
