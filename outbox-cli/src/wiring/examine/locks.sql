-- Sessions that make others wait for a lock which use the tables of the schema $1, and for how long the first of those
-- has waited, the longest first. A wait of less than a second is usual. The sessions of other users are seen by
-- members of pg_read_all_stats only.
SELECT b.pid::text || coalesce(' (' || nullif(concat_ws(', ', nullif(b.usename, ''), nullif(b.application_name, ''), b.state), '') || ')', ''),
       extract(epoch FROM now() - min(w.query_start))::float8
FROM (SELECT l.pid FROM pg_locks AS l
      WHERE EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.oid = l.relation AND n.nspname = $1)
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      INTERSECT SELECT l.pid FROM pg_locks AS l WHERE NOT l.granted) AS waiting
JOIN pg_stat_activity AS w ON w.pid = waiting.pid
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocking (pid)
JOIN pg_stat_activity AS b ON b.pid = blocking.pid
WHERE w.query_start < now() - interval '1 second'
GROUP BY b.pid, b.usename, b.application_name, b.state
ORDER BY 2 DESC
LIMIT 5
