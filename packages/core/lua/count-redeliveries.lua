-- count-redeliveries
--   Counts one more enqueue by the reaper for each of these orders, so that one that ends every worker that takes it is
--   given up some day. An order that has ended meanwhile is not counted: nothing would ever clear it.
-- KEYS
--   1 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   2 redeliveries     hash order id -> redeliveries by the reaper
-- ARGV
--   1.. order ids
-- Returns
--   counted
-- Keeps
--   I3 every accepted order ends
for i = 1, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('HINCRBY', KEYS[2], ARGV[i], 1)
  end
end
return { 'counted' }
