-- What the server that holds KEYS[1] says about its memory, in Redis Cluster too.
return redis.call('INFO', 'memory')
