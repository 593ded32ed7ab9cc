-- Names the Redis instance that runs this script: the process and the data that it serves. A
-- restart, a failover and a promotion each change it. An inventory is open only in the instance
-- that opened it.
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
