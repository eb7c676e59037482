-- H4, H7: no count of the ids and no lease; ARGV: at most 1,000 ids.
-- Atomic: one script.
remove(ARGV)
