-- R5: the events that wait: up to $1 first events of keys in the retries, in the order in which they came, and
-- up to $1 events of each lane of the log that no claim has. is_first: no earlier event of its key waits in
-- the retries. Events of a claim are left out.
WITH lanes AS MATERIALIZED (
    SELECT l.*,
           (SELECT max(e.seq)
            FROM (SELECT e.seq FROM outbox.outbox_log AS e
                  WHERE e.lane = l.lane AND e.seq > l.position
                    AND pg_visible_in_snapshot(e.xid, l.window_end)
                    AND NOT pg_visible_in_snapshot(e.xid, l.seen)
                  ORDER BY e.seq
                  LIMIT l.reads) AS e) AS claimed_to
    FROM outbox.outbox_unread AS l
)
(SELECT true AS is_first, r.id, r.event_type, r.ordering_key, r.created_at, r.due_at, r.attempts,
        r.last_error, r.held_for
 FROM outbox.outbox_retries AS r
 WHERE r.due_at IS NOT NULL AND r.kept_by IS NULL
   AND r.place NOT IN (SELECT unnest(held) FROM lanes WHERE held IS NOT NULL)
 ORDER BY r.place
 LIMIT $1)
UNION ALL
(SELECT false, e.id, e.event_type, e.ordering_key, e.created_at,
        greatest(e.created_at, e.available_at), 0, NULL, NULL
 FROM lanes AS l
 CROSS JOIN LATERAL (
     SELECT *
     FROM outbox.outbox_log AS e
     WHERE e.lane = l.lane AND e.seq > l.begin
       AND NOT pg_visible_in_snapshot(e.xid, l.seen)
       AND NOT (coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                AND e.seq <= greatest(l.position, l.claimed_to))
     ORDER BY e.seq
     LIMIT $1
 ) AS e)
