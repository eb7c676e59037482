-- H4, H7: no count of the ids and no lease; ARGV: clock, then at most 1,000 ids.
-- Atomic: one script.
redis.call('ZREM', counts, unpack(ARGV, 2))
redis.call('ZREM', turns, unpack(ARGV, 2))
redis.call('ZREM', first, unpack(ARGV, 2))
redis.call('HDEL', details, unpack(ARGV, 2))
