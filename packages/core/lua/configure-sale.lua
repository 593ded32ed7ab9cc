-- configure-sale
--   Brings a change of window or pause from the ledger into the inventory. An older version never overwrites a newer one, so
--   that two operators, or an operator and the repair loop, cannot pass each other.
-- KEYS
--   1 inventory        hash of the sale's settings and numbers
-- ARGV
--   1 version     of the ledger's row that these settings came from
--   2 paused      1 or 0
--   3 starts at   ms since 1970
--   4 ends at     ms since 1970
-- Returns
--   configured
--   current
--   recovering
-- Keeps
--   I8 an operator's last word holds, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'version')
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if inventory[1] ~= instance_id then
  return { 'recovering' }
end
if tonumber(ARGV[1]) <= tonumber(inventory[2]) then
  return { 'current' }
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'paused', ARGV[2], 'starts_at', ARGV[3], 'ends_at', ARGV[4])
return { 'configured' }
