-- remember-orders
--   While a gate is made anew: remembers that this gate has had the reservations that were left. Who asks for them later and finds no
--   reservation learns that they have ended (adopt-orders).
-- KEYS
--   1 gate             hash of the sale's settings and numbers
--   2 earlier orders   set of order ids of earlier epochs that this gate has, or has had
-- ARGV
--   1 epoch       that the rebuilder speaks for
--   2.. orders    order ids
-- Returns
--   remembered
--   other_epoch
-- Keeps
--   I7 status never moves backwards, I11 one life at a time
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'run_id')
if gate[1] ~= ARGV[1] or gate[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('SADD', KEYS[2], unpack(ARGV, 2))
return { 'remembered' }
