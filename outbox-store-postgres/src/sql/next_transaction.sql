-- The next transaction id: every transaction that already has an id has a smaller one.
SELECT pg_current_xact_id()::text::bigint
