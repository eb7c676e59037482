-- The memory settings and the role of the server that holds KEYS[1]; the key finds that server in a
-- cluster. Changes nothing.
return redis.call('INFO', 'memory') .. redis.call('INFO', 'replication')
