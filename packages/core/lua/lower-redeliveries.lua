-- lower-redeliveries
--   Sets the count of redeliveries of these orders back to one, where there is a count. Their last worker lived to say what failed, so
--   they are not given up for it; but each goes on being enqueued in a job of its own, apart from one that may be at fault.
-- KEYS
--   1 reservations   hash order id -> quantity|reserved at ms|request id|length of key|key, buyer
--   2 redeliveries     hash order id -> redeliveries by the reaper
-- ARGV
--   1.. order ids
-- Returns
--   lowered
-- Keeps
--   I3 every accepted order ends
for i = 1, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 and redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], 1)
  end
end
return { 'lowered' }
