-- S5, S6, S11: events that are due again, and the events that wait for them, of up to $4 lanes that no
-- other claim has. $1 token, $2 limit, $3 lease, $4 lanes, $5 how many lanes the claim has already, $6 the
-- bytes that are left, $7 whether the first event may be larger, $8 whether it may have more than half of
-- the free lanes (S12).
--
-- Atomic: one statement under the locks of its lanes. As in claim_events.sql, lanes that are locked or that
-- were changed after the snapshot are skipped, and a claim that lost a lane takes none. The events of a
-- key end before an event that is not due yet, that was in a lost claim (S7), that a dead letter blocks
-- (S9), or that was written into another lane by hand.
WITH lanes AS MATERIALIZED (
    SELECT * FROM outbox.outbox_newest
),
free AS MATERIALIZED (
    SELECT n.lane, n.epoch, coalesce(n.held, '{}') AS held
    FROM lanes AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch AND l.turn = n.turn
    WHERE (n.token IS NULL OR n.token = $1)
      AND n.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT count(*) FROM lanes WHERE token = $1) = $5
      AND EXISTS (SELECT FROM outbox.outbox_retries AS r
                  WHERE r.lane = n.lane AND NOT r.suspect AND r.due_at <= now()
                    AND r.place <> ALL (coalesce(n.held, '{}')))
    ORDER BY n.turn
    LIMIT (SELECT CASE WHEN $8 THEN $4 ELSE least($4, greatest((count(*) + 1) / 2 - $5, 1)) END
           FROM lanes WHERE token IS NULL OR token = $1)
    FOR UPDATE OF l SKIP LOCKED
),
heads AS MATERIALIZED (
    SELECT h.*
    FROM free AS f
    CROSS JOIN LATERAL (
        SELECT r.place, r.lane, r.ordering_key, r.due_at
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
                    OR r.lane = h.lane AND NOT r.suspect
                       AND coalesce(r.available_at <= now(), true)
                       AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                                       WHERE d.holds AND d.place < r.place
                                         AND hashtextextended(d.ordering_key, 0)
                                             = hashtextextended(r.ordering_key, 0)
                                         AND d.ordering_key = r.ordering_key))
               OVER (PARTITION BY h.place ORDER BY r.place) AS ready
    FROM heads AS h
    CROSS JOIN LATERAL (
        SELECT * FROM outbox.outbox_retries AS r WHERE r.place = h.place
        UNION ALL
        (SELECT * FROM outbox.outbox_retries AS r
         WHERE hashtextextended(r.ordering_key, 0) = hashtextextended(h.ordering_key, 0)
           AND r.ordering_key = h.ordering_key AND r.place > h.place
         ORDER BY r.place
         LIMIT $2 - 1)
    ) AS r
),
ranked AS (
    SELECT *, row_number() OVER in_order AS rank,
           sum(octet_length(payload) + coalesce(octet_length(headers::text), 0))
               OVER in_order AS total
    FROM (SELECT * FROM runs WHERE ready ORDER BY head_due_at, place LIMIT $2) AS r
    WINDOW in_order AS (ORDER BY head_due_at, place ROWS UNBOUNDED PRECEDING)
),
chosen AS MATERIALIZED (
    SELECT * FROM ranked WHERE total <= $6 OR rank = 1 AND $7
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1,
        leased_until = now() + $3,
        held = coalesce(l.held, '{}') || c.places,
        turn = pg_current_xact_id(),
        epoch = pg_current_xact_id()::text::bigint >> 8
    FROM (SELECT lane, array_agg(place) AS places FROM chosen GROUP BY lane) AS c
    JOIN free AS f USING (lane)
    WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
    RETURNING l.lane
)
SELECT c.lane, c.place, c.attempts, c.worker_lost, c.id, c.event_type, c.payload, c.content_type,
       c.headers, c.ordering_key, c.idempotency_token, c.created_at, c.available_at
FROM chosen AS c
JOIN taken AS t USING (lane)
ORDER BY c.head_due_at, c.place
