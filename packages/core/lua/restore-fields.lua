-- restore-fields
--   While an inventory is rebuilt: writes fields of one of its hashes. Absolute values, so that a repeated call changes nothing.
-- KEYS
--   1 inventory     hash of the sale's settings and numbers
--   2 hash     that the fields belong to
-- ARGV
--   1 epoch    that the rebuilder speaks for
--   2.. fields two each: field, value
-- Returns
--   restored
--   other_epoch
-- Keeps
--   I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id')
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return { 'restored' }
