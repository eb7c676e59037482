-- The channel on which the table $1 rings: the number of a table is the same for all programs, and
-- needs no quotes.
SELECT 'outbox_' || $1::regclass::oid
