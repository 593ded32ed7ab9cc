-- Counts redeliveries of orders, or sets existing counts back to 1. The reaper rejects an order
-- with too many. Skips orders that have ended: nothing would delete their counts.
-- Runs: while Redis is full
-- Keeps: I3
-- KEYS: reservations, redeliveries
-- ARGV: change (add = one more; reset = back to 1 if there is a count), order ids …
-- Returns: counted
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    if ARGV[1] == 'add' then
      redis.call('HINCRBY', KEYS[2], ARGV[i], 1)
    elseif redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
      redis.call('HSET', KEYS[2], ARGV[i], 1)
    end
  end
end
return { 'counted' }
