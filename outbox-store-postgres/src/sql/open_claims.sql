-- R4: up to $1 open claims, the one whose lease ends first first: of the lanes that they have, and of the
-- events that settlements keep in them (S22). The number of events is that of the rows that are still there.
SELECT token, max(until) AS until, sum(events)::bigint AS events,
       coalesce(array_agg(lane ORDER BY lane) FILTER (WHERE lane IS NOT NULL), '{}') AS lanes
FROM (
    SELECT l.token, l.leased_until AS until, l.lane,
           (SELECT count(*)
            FROM (SELECT FROM outbox.outbox_log AS e
                  WHERE e.lane = l.lane AND e.seq > l.position
                    AND pg_visible_in_snapshot(e.xid, l.window_end)
                    AND NOT pg_visible_in_snapshot(e.xid, l.seen)
                  ORDER BY e.seq
                  LIMIT l.reads) AS e)
           + coalesce(cardinality(l.held), 0) AS events
    FROM outbox.outbox_newest AS l
    WHERE l.token IS NOT NULL
    UNION ALL
    SELECT kept_by, max(delayed_until), NULL, count(*)
    FROM outbox.outbox_retries
    WHERE kept_by IS NOT NULL
    GROUP BY kept_by
) AS c
GROUP BY token
ORDER BY until, token
LIMIT $1
