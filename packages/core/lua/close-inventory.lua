-- First step of a rebuild: the inventory accepts no orders, and writes only of this epoch's
-- rebuilder. Deletes what the rebuild recreates. Stores the Redis instance: reopen-inventory fails
-- in another one.
-- Includes: instance-id
-- Runs: while Redis is full
-- Keeps: I11
-- KEYS: inventory, claims, redeliveries, buyers, orderKeys, earlierOrders
-- ARGV: epoch of the rebuilder
-- Returns: closed | other_epoch
local inventory = redis.call('HMGET', KEYS[1], 'instance_id', 'epoch')
-- An epoch that is not a number was not written by a rebuilder and stops none.
local epoch, own_epoch = tonumber(inventory[2] or '0') or 0, tonumber(ARGV[1])
if own_epoch < epoch or own_epoch == epoch and inventory[1] ~= '' then
  return { 'other_epoch' }
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'instance_id', '', 'closed_in', instance_id)
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return { 'closed' }
