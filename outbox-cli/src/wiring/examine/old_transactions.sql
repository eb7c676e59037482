-- Transactions of other sessions that have been open for ten minutes, the oldest first. Those of other users
-- are seen by members of pg_read_all_stats only.
SELECT pid::text || coalesce(' (' || nullif(concat_ws(', ', nullif(usename, ''), nullif(application_name, ''), state), '') || ')', ''),
       extract(epoch FROM now() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '10 minutes'
  AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL OR state LIKE 'idle in transaction%')
ORDER BY xact_start
LIMIT 5
