-- H4, H7: no count of the ids and no lease; ARGV: clock, then at most 1,000 ids.
-- Atomic: one script.
table.remove(ARGV, 1)
remove(ARGV)
