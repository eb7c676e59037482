-- Counts the events that wait. In each lane, at most $1 rows of the log are counted.
SELECT (l.unread + r.count)::bigint AS pending,
       least(l.oldest, r.oldest) AS oldest_pending,
       (l.claimed + l.held + r.kept)::bigint AS in_flight,
       (r.due - r.due_kept - l.due_held
        + (SELECT count(DISTINCT ordering_key) FROM outbox.outbox_dead_letters WHERE holds)
       )::bigint AS waiting,
       (SELECT count(*) FROM outbox.outbox_dead_letters)::bigint AS dead_letters
FROM (
    SELECT sum(e.unread) AS unread, min(e.oldest) AS oldest,
           sum(CASE WHEN l.token IS NULL THEN 0 ELSE least(l.reads, e.in_window) END) AS claimed,
           sum(coalesce(cardinality(l.held), 0)) AS held,
           sum((SELECT count(*) FROM outbox.outbox_retries AS r
                WHERE r.place = ANY (l.held) AND r.due_at IS NOT NULL)) AS due_held
    FROM outbox.outbox_unread AS l
    CROSS JOIN LATERAL (
        SELECT count(*) AS unread,
               count(*) FILTER (WHERE pg_visible_in_snapshot(e.xid, l.window_end)) AS in_window,
               (SELECT first.created_at FROM outbox.outbox_log AS first
                WHERE first.lane = l.lane AND first.seq = min(e.seq)) AS oldest
        FROM (
            SELECT xid, seq
            FROM outbox.outbox_log
            WHERE lane = l.lane AND seq > l.begin
              AND NOT pg_visible_in_snapshot(xid, l.seen)
              AND NOT (coalesce(pg_visible_in_snapshot(xid, l.window_end), false)
                       AND seq <= l.position)
            ORDER BY seq
            LIMIT $1
        ) AS e
    ) AS e
) AS l
CROSS JOIN (
    SELECT count(*) AS count, min(created_at) AS oldest, count(due_at) AS due,
           count(kept_by) AS kept, count(due_at) FILTER (WHERE kept_by IS NOT NULL) AS due_kept
    FROM outbox.outbox_retries
) AS r
