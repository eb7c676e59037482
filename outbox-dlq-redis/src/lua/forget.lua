-- H4, H7: removes the entries of ids, with their counts and leases. ARGV from 2: up to 1,000 ids.
-- Most ids never failed, and for those the first command is enough.
-- Atomic: one script, so nothing of a removed entry remains.
if redis.call('ZREM', counts, unpack(ARGV, 2)) > 0 then remove({unpack(ARGV, 2)}) end
