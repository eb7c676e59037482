-- A number that all transactions which have one by now are below.
SELECT pg_current_xact_id()::text::bigint
