-- drop-reservations
--   While a gate is made anew: takes away reservations of orders that the ledger has, or that there is no room for.
-- KEYS
--   1 gate           hash of the sale's settings and numbers
--   2 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   3 hand overs     hash order id -> hand-overs by the sweep
-- ARGV
--   1 epoch          that the rebuilder speaks for
--   2.. order ids
-- Returns
--   dropped
--   other_epoch
-- Keeps
--   I11 one life at a time
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'run_id')
if gate[1] ~= ARGV[1] or gate[2] ~= '' then
  return { 'other_epoch' }
end
redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
-- A sweep may have counted one since the gate was closed.
redis.call('HDEL', KEYS[3], unpack(ARGV, 2))
return { 'dropped' }
