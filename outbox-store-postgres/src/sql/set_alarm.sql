-- New events are told until the time $1 from now; with none, no more.
SELECT setval(tableoid::regclass,
              CASE WHEN $1 > '0 s'::interval
                   THEN greatest(last_value, ceil(extract(epoch FROM clock_timestamp() + $1))::bigint)
                   ELSE 1 END)
FROM outbox.outbox_alarm
