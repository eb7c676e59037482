-- S7: one event that was in a claim whose worker was lost, alone. $1 token, $2 lease, $3 how many
-- lanes the claim has already. Atomic as claim_retries.sql, for a single event. An event whose lease is over
-- is not kept any more (S22).
WITH free AS MATERIALIZED (
    SELECT n.lane, n.epoch
    FROM outbox.outbox_newest AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch AND l.turn = n.turn
    WHERE n.token IS NULL
      AND n.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT count(*) FROM outbox.outbox_newest WHERE token = $1) = $3
      AND EXISTS (SELECT FROM outbox.outbox_retries AS r
                  WHERE r.lane = n.lane AND r.suspect AND r.due_at <= now())
    ORDER BY n.turn
    LIMIT 1
    FOR UPDATE OF l SKIP LOCKED
),
chosen AS MATERIALIZED (
    SELECT r.*
    FROM free AS f
    CROSS JOIN LATERAL (
        SELECT * FROM outbox.outbox_retries AS r
        WHERE r.lane = f.lane AND r.suspect AND r.due_at <= now()
        ORDER BY r.due_at, r.place
        LIMIT 1
    ) AS r
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1,
        leased_until = now() + $2,
        held = ARRAY[c.place],
        turn = pg_current_xact_id(),
        epoch = pg_current_xact_id()::text::bigint >> 8
    FROM chosen AS c
    JOIN free AS f USING (lane)
    WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
    RETURNING l.lane
),
kept AS (
    UPDATE outbox.outbox_retries AS r
    SET kept_by = NULL
    FROM chosen AS c JOIN taken AS t USING (lane)
    WHERE r.place = c.place AND c.kept_by IS NOT NULL
)
SELECT c.lane, c.place, c.attempts, c.worker_lost, c.id, c.event_type, c.payload, c.content_type,
       c.headers, c.ordering_key, c.idempotency_token, c.created_at, c.available_at
FROM chosen AS c
JOIN taken AS t USING (lane)
