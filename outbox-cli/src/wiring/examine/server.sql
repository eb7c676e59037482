-- The server's clock, and whether it takes writes.
SELECT extract(epoch FROM clock_timestamp())::float8,
       pg_is_in_recovery(),
       current_setting('default_transaction_read_only')::boolean,
       current_user::text,
       pg_has_role('pg_read_all_stats', 'USAGE')
