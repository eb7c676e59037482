-- The channel on which inserts into the table $1 notify. The number of a table is the same for all
-- programs, and needs no quotes.
SELECT 'outbox_' || $1::regclass::oid
