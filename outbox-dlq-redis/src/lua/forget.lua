-- H4, H7: no count of the ids and no lease; ARGV: at most 1,000 ids.
-- Most ids never failed, and for those the first command is all.
-- Atomic: one script, and an entry is gone with its count.
if redis.call('ZREM', counts, unpack(ARGV)) > 0 then remove(ARGV) end
