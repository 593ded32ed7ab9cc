-- restore-unsettled
--   While a gate is made anew: puts the reservations that were left back under the sweep's eyes, and remembers that this gate has had
--   them: who asks for them later and finds no reservation learns that they have ended (adopt-orders).
-- KEYS
--   1 gate             hash of the sale's settings and numbers
--   2 unsettled        sorted set of order ids by the ms they were last handed over
--   3 earlier orders   set of order ids of earlier epochs that this gate has, or has had
-- ARGV
--   1 epoch       that the rebuilder speaks for
--   2.. orders    two each: reserved at ms, order id
-- Returns
--   restored
--   other_epoch
-- Keeps
--   I1 conservation, I3 every accepted order ends, I11 one life at a time
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'run_id')
if gate[1] ~= ARGV[1] or gate[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('ZADD', KEYS[2], unpack(ARGV, 2))
for i = 3, #ARGV, 2 do
  redis.call('SADD', KEYS[3], ARGV[i])
end
return { 'restored' }
