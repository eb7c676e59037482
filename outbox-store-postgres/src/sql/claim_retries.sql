-- S5, S6: events that are due again, with those that wait behind them, of up to $4 lanes that no
-- other claim holds. $1 token, $2 limit, $3 lease, $4 lanes, $5 how many the claim has already.
--
-- One statement under the locks of its lanes; lanes that are locked or that were changed since the
-- snapshot are left out, and a claim that lost a lane takes none, as in claim_events.sql. A run of
-- a key ends before an event that is not due yet, one that was in a lost claim (S7), and one that a
-- letter holds (S9).
WITH free AS MATERIALIZED (
    SELECT lane, coalesce(held, '{}') AS held
    FROM outbox.outbox_lanes AS l
    WHERE (token IS NULL OR token = $1)
      AND turn = ANY (ARRAY(SELECT turn FROM outbox.outbox_lanes))
      AND l.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT count(*) FROM outbox.outbox_lanes WHERE token = $1) = $5
      AND EXISTS (SELECT FROM outbox.outbox_retries AS r
                  WHERE r.lane = l.lane AND NOT r.suspect AND r.due_at <= now()
                    AND r.place <> ALL (coalesce(l.held, '{}')))
    ORDER BY turn
    LIMIT $4
    FOR UPDATE SKIP LOCKED
),
heads AS MATERIALIZED (
    SELECT h.*
    FROM free AS f
    CROSS JOIN LATERAL (
        SELECT r.place, r.ordering_key, r.due_at
        FROM outbox.outbox_retries AS r
        WHERE r.lane = f.lane AND NOT r.suspect AND r.due_at <= now()
          AND r.place <> ALL (f.held)
        ORDER BY r.due_at
        LIMIT $2
    ) AS h
    ORDER BY h.due_at
    LIMIT $2
),
runs AS (
    SELECT h.due_at AS head_due_at, r.*,
           bool_and(r.place = h.place
                    OR NOT r.suspect AND coalesce(r.available_at <= now(), true)
                       AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                                       WHERE d.holds AND d.ordering_key = r.ordering_key
                                         AND d.place < r.place))
               OVER (PARTITION BY h.place ORDER BY r.place) AS ready
    FROM heads AS h
    CROSS JOIN LATERAL (
        SELECT * FROM outbox.outbox_retries AS r WHERE r.place = h.place
        UNION ALL
        (SELECT * FROM outbox.outbox_retries AS r
         WHERE r.ordering_key = h.ordering_key AND r.place > h.place
         ORDER BY r.place
         LIMIT $2 - 1)
    ) AS r
),
chosen AS MATERIALIZED (
    SELECT * FROM runs WHERE ready ORDER BY head_due_at, place LIMIT $2
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1,
        leased_until = now() + $3,
        held = coalesce(l.held, '{}') || c.places,
        turn = pg_current_xact_id()
    FROM (SELECT lane, array_agg(place) AS places FROM chosen GROUP BY lane) AS c
    WHERE l.lane = c.lane
    RETURNING l.lane
)
SELECT c.lane, c.place, c.attempts, c.worker_lost, c.id, c.event_type, c.payload, c.content_type,
       c.headers, c.ordering_key, c.idempotency_token, c.created_at, c.available_at
FROM chosen AS c
JOIN taken AS t USING (lane)
ORDER BY c.head_due_at, c.place
