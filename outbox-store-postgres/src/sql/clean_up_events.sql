-- Deletes consumed rows of the log, at most $1 in each lane, those after $2 (one for each lane)
-- only. Gives how far it went. A replay that makes a row fresh again also gives it another seq, so
-- it is not deleted by one that saw it consumed.
WITH old AS MATERIALIZED (
    SELECT e.lane, e.seq
    FROM outbox.outbox_lanes AS l
    JOIN unnest($2::bigint[]) WITH ORDINALITY AS a (seq, place) ON a.place = l.lane + 1
    CROSS JOIN LATERAL (
        SELECT e.lane, e.seq
        FROM outbox.outbox_events AS e
        WHERE e.lane = l.lane AND e.seq > a.seq
          AND (pg_visible_in_snapshot(e.xid, l.seen)
               OR coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                  AND e.seq <= l.position)
        ORDER BY e.seq
        LIMIT $1
    ) AS e
),
gone AS (
    DELETE FROM outbox.outbox_events AS e USING old
    WHERE e.lane = old.lane AND e.seq = old.seq
    RETURNING e.lane, e.seq
)
SELECT lane, max(seq) AS reached, count(*) AS count FROM gone GROUP BY lane
