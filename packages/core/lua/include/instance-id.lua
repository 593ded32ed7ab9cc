-- Identifies the Redis instance that runs this script: the process and the history of its data. It
-- changes with each restart, failover and promotion. An inventory is open only in the instance that
-- opened it.
local instance_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
