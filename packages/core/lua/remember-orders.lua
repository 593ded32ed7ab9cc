-- remember-orders
--   While an inventory is rebuilt: remembers that this inventory has had the reservations that were left. Who asks for them later and finds no
--   reservation learns that they have ended (readmit).
-- KEYS
--   1 inventory             hash of the sale's settings and numbers
--   2 earlier orders   set of order ids of earlier epochs that this inventory has, or has had
-- ARGV
--   1 epoch       that the rebuilder speaks for
--   2.. orders    order ids
-- Returns
--   remembered
--   other_epoch
-- Keeps
--   I7 status never moves backwards, I11 one life at a time
local inventory = redis.call('HMGET', KEYS[1], 'epoch', 'instance_id')
if inventory[1] ~= ARGV[1] or inventory[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('SADD', KEYS[2], unpack(ARGV, 2))
return { 'remembered' }
