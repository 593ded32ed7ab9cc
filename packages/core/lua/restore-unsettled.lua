-- restore-unsettled
--   While a gate is made anew: puts the reservations that were left back under the sweep's eyes.
-- KEYS
--   1 gate        hash of the sale's settings and numbers
--   2 unsettled   sorted set of order ids by the ms they were last handed over
-- ARGV
--   1 epoch       that the rebuilder speaks for
--   2.. orders    two each: reserved at ms, order id
-- Returns
--   restored
--   other_epoch
-- Keeps
--   I3 every accepted order ends, I11 one life at a time
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'run_id')
if gate[1] ~= ARGV[1] or gate[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('ZADD', KEYS[2], unpack(ARGV, 2))
return { 'restored' }
