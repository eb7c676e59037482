-- H4, H7: no count of the ids and no lease; ARGV: at most 1,000 ids.
-- Most ids never failed, and for those this is all.
-- Atomic: one script, and an entry is gone with its count.
if redis.call('ZREM', counts, unpack(ARGV)) > 0 then
    redis.call('ZREM', turns, unpack(ARGV))
    redis.call('ZREM', first, unpack(ARGV))
    redis.call('HDEL', details, unpack(ARGV))
end
