-- What the server that holds KEYS[1] says about its memory and its role, in Redis Cluster too.
return redis.call('INFO', 'memory') .. redis.call('INFO', 'replication')
