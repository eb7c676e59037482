-- H4: what is left of an id whose count was taken out; ARGV: the id.
-- Atomic: one script, and an id that failed again meanwhile is a new entry, which stays.
if not redis.call('ZSCORE', counts, ARGV[1]) then remove(ARGV) end
