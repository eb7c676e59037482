-- New events notify until the time $1 from now. If $1 is 0, they no longer notify.
SELECT setval(tableoid::regclass,
              CASE WHEN $1 > '0 s'::interval
                   THEN greatest(last_value, ceil(extract(epoch FROM clock_timestamp() + $1))::bigint)
                   ELSE 1 END)
FROM outbox.outbox_alarm
