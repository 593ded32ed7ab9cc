-- configure-sale
--   Brings a change of window or pause from the ledger into the gate. An older version never overwrites a newer one, so
--   that two operators, or an operator and the repair loop, cannot pass each other.
-- KEYS
--   1 gate        hash of the sale's settings and numbers
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
local gate = redis.call('HMGET', KEYS[1], 'run_id', 'version')
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if gate[1] ~= life then
  return { 'recovering' }
end
if tonumber(ARGV[1]) <= tonumber(gate[2]) then
  return { 'current' }
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'paused', ARGV[2], 'starts_at', ARGV[3], 'ends_at', ARGV[4])
return { 'configured' }
