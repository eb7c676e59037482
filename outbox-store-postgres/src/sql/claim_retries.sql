-- S5, S6, S11: events that are due again, and the events that wait for them, of up to $4 lanes that no
-- other claim has. $1 token, $2 limit, $3 lease, $4 lanes, $5 how many lanes the claim has already, $6 the
-- bytes that are left, $7 whether the first event may be larger, $8 whether it may have more than half of
-- the free lanes (S12).
--
-- Atomic: one statement under the locks of its lanes. As in claim_events.sql, lanes that are locked or that
-- were changed after the snapshot are skipped, and a claim that lost a lane takes none. The events of a
-- key end before an event that is not due yet, that was in a lost claim (S7), that a dead letter blocks
-- (S9), or that was written into another lane by hand. First come the first events of all keys, then the
-- second ones, and so on: a call of a transport that does not keep order has one event of each key. Of the
-- equality as an operator the server would expect less than one row, and would read all rows of the key.
WITH RECURSIVE lanes AS MATERIALIZED (
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
        SELECT r.place, r.lane, r.ordering_key, r.due_at,
               octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes
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
    SELECT 1 AS number, h.due_at AS head_due_at, h.place, h.lane, h.ordering_key, h.bytes
    FROM heads AS h
    UNION ALL
    SELECT r.number + 1, r.head_due_at, n.place, r.lane, r.ordering_key, n.bytes
    FROM runs AS r
    CROSS JOIN LATERAL (
        SELECT e.place, octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes,
               e.lane = r.lane AND NOT e.suspect AND coalesce(e.available_at <= now(), true)
               AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                               WHERE d.holds AND d.place < e.place
                                 AND hashtextextended(d.ordering_key, 0)
                                     = hashtextextended(e.ordering_key, 0)
                                 AND d.ordering_key = e.ordering_key) AS is_ready
        FROM outbox.outbox_retries AS e
        WHERE hashtextextended(e.ordering_key, 0) = hashtextextended(r.ordering_key, 0)
          AND texteq(e.ordering_key, r.ordering_key) AND e.place > r.place
        ORDER BY e.place
        LIMIT 1
    ) AS n
    WHERE n.is_ready AND r.number < (SELECT least($2, 1 + 2 * $2 / greatest(count(*), 1)) FROM heads)
),
ranked AS (
    SELECT *, row_number() OVER in_turns AS rank, sum(bytes) OVER in_turns AS total
    FROM (SELECT * FROM runs ORDER BY number, head_due_at, place LIMIT $2) AS r
    WINDOW in_turns AS (ORDER BY number, head_due_at, place ROWS UNBOUNDED PRECEDING)
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
SELECT c.lane, r.place, r.attempts, r.worker_lost, r.id, r.event_type, r.payload, r.content_type,
       r.headers, r.ordering_key, r.idempotency_token, r.created_at, r.available_at
FROM chosen AS c
JOIN taken AS t USING (lane)
JOIN outbox.outbox_retries AS r ON r.place = c.place
ORDER BY c.head_due_at, c.place
