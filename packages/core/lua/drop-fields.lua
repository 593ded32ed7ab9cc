-- drop-fields
--   While an inventory is rebuilt: takes fields out of one of its hashes: reservations of orders that the ledger has or that there is no
--   room for, and decisions on changes of stock that the ledger does not know.
-- KEYS
--   1 inventory     hash of the sale's settings and numbers
--   2 hash     that the fields belong to
-- ARGV
--   1 epoch    that the rebuilder speaks for
--   2.. fields
-- Returns
--   dropped
--   other_epoch
-- Keeps
--   I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id')
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
return { 'dropped' }
