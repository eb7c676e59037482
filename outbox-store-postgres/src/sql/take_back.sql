-- S7: moves the events that a lost claim had from the log to the retries, as suspects. $1 its token, $2 the
-- lanes that the caller has locked. (A lane that the claim took after that has a new lease.) The caller
-- ends the claim in the same transaction. Returns their places, and how far the cursor moves.
WITH rows AS MATERIALIZED (
    SELECT l.reads, e.*
    FROM outbox.outbox_newest AS l
    CROSS JOIN LATERAL (
        SELECT * FROM outbox.outbox_log AS e
        WHERE e.lane = l.lane AND e.seq > l.position
          AND pg_visible_in_snapshot(e.xid, l.window_end)
          AND NOT pg_visible_in_snapshot(e.xid, l.seen)
        ORDER BY e.seq
        LIMIT l.reads
    ) AS e
    WHERE l.token = $1 AND l.lane = ANY ($2) AND l.reads > 0
),
parked AS (
    INSERT INTO outbox.outbox_retries
           (lane, due_at, suspect, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT lane, CASE WHEN ordering_key IS NULL THEN greatest(now(), available_at) END, true, id,
           event_type, payload, content_type, headers, ordering_key, idempotency_token, created_at,
           available_at, replays
    FROM rows
    ORDER BY seq
    RETURNING lane, place, ordering_key
),
moved AS (
    SELECT lane, max(seq) AS read_to, count(*) < max(reads) AS ends FROM rows GROUP BY lane
)
SELECT p.lane, p.place, p.ordering_key, m.read_to, m.ends
FROM parked AS p JOIN moved AS m USING (lane)
