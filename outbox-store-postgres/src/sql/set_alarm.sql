-- New events are announced until the time $1 from now; without $1, no longer.
SELECT setval(tableoid::regclass,
              CASE WHEN $1 > '0 s'::interval
                   THEN greatest(last_value, ceil(extract(epoch FROM clock_timestamp() + $1))::bigint)
                   ELSE 1 END)
FROM outbox.outbox_alarm
