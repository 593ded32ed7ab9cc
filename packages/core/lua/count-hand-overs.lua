-- count-hand-overs
--   Counts one more hand-over by the sweep for each of these orders, so that one that ends every worker that takes it is
--   given up some day. An order that has ended meanwhile is not counted: nothing would ever clear it.
-- KEYS
--   1 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   2 hand overs     hash order id -> hand-overs by the sweep
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
