-- close-inventory
--   First step of rebuilding an inventory: from here on nothing is admitted and nobody but the rebuilder of this epoch writes.
--   What can be made again from ledger and reservations is cleared. A rebuilder of an older epoch is refused. The life of
--   Redis that it was closed in is kept, for the inventory is opened in the same one or not at all.
-- KEYS
--   1 inventory             hash of the sale's settings and numbers
--   2 claims           hash order id -> ms at which the reaper last took it into its hands
--   3 redeliveries       hash order id -> redeliveries by the reaper
--   4 buyers           hash buyer -> units held (only where the sale has a cap)
--   5 order keys       hash buyer, space, idempotency key -> order id, space, quantity
--   6 earlier orders   set of order ids of earlier epochs that this inventory has, or has had
-- ARGV
--   1 epoch        that the rebuilder speaks for
-- Returns
--   closed
--   other_epoch
-- Keeps
--   I11 one life at a time
-- One that cannot be read was written by somebody else, and stops nobody.
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') or 0
if tonumber(ARGV[1]) < epoch then
  return { 'other_epoch' }
end
if tonumber(ARGV[1]) == epoch and redis.call('HGET', KEYS[1], 'instance_id') ~= '' then
  return { 'other_epoch' }
end
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'instance_id', '',
  'closed_in', instance_id)
redis.call('UNLINK', KEYS[2])
redis.call('UNLINK', KEYS[3])
redis.call('UNLINK', KEYS[4])
redis.call('UNLINK', KEYS[5])
redis.call('UNLINK', KEYS[6])
return { 'closed' }
