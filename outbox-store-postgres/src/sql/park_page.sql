-- S5: moves the next rows of a lane that must all wait to the retries, at most $1 rows and $2 bytes, up to
-- the first row that need not wait. Returns how many, and the keys that nothing blocked before: their first
-- event is not due yet.
--
-- Atomic: one statement under the lock of the lane inserts the rows and moves the cursor past them. The
-- events before them in their keys cannot change meanwhile: the turn of the lane shows that no transaction
-- has changed it since the snapshot.
WITH free AS MATERIALIZED (
    SELECT n.lane, n.epoch, n.seen, n.window_end, n.position
    FROM outbox.outbox_newest AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch AND l.turn = n.turn
    WHERE n.token IS NULL AND n.window_end IS NOT NULL
      AND n.top <= (SELECT last_value FROM outbox.outbox_home)
    ORDER BY n.turn
    LIMIT 1
    FOR UPDATE OF l SKIP LOCKED
),
page AS MATERIALIZED (
    SELECT e.*
    FROM free AS f
    CROSS JOIN LATERAL (
        SELECT seq, ordering_key, coalesce(available_at > now(), false) AS is_delayed,
               octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes
        FROM outbox.outbox_log AS e
        WHERE e.lane = f.lane AND e.seq > f.position
          AND pg_visible_in_snapshot(e.xid, f.window_end)
          AND NOT pg_visible_in_snapshot(e.xid, f.seen)
        ORDER BY e.seq
        LIMIT $1
    ) AS e
),
keys AS MATERIALIZED (
    SELECT k.ordering_key,
           coalesce((SELECT true FROM outbox.outbox_retries AS r
                     WHERE hashtextextended(r.ordering_key, 0) = hashtextextended(k.ordering_key, 0)
                       AND texteq(r.ordering_key, k.ordering_key)
                     ORDER BY r.place LIMIT 1),
                    (SELECT true FROM outbox.outbox_dead_letters AS d
                     WHERE hashtextextended(d.ordering_key, 0) = hashtextextended(k.ordering_key, 0)
                       AND d.ordering_key = k.ordering_key AND d.holds
                     ORDER BY d.place LIMIT 1),
                    false) AS is_blocked
    FROM (SELECT DISTINCT ordering_key FROM page WHERE ordering_key IS NOT NULL) AS k
),
judged AS MATERIALIZED (
    SELECT p.seq, p.ordering_key, k.is_blocked,
           row_number() OVER in_order > 1 AND sum(p.bytes) OVER in_order > $2 AS is_too_much,
           CASE WHEN p.ordering_key IS NULL THEN p.is_delayed
                ELSE k.is_blocked
                     OR bool_or(p.is_delayed) OVER (PARTITION BY p.ordering_key ORDER BY p.seq)
           END AS waits
    FROM page AS p
    LEFT JOIN keys AS k USING (ordering_key)
    WINDOW in_order AS (ORDER BY p.seq ROWS UNBOUNDED PRECEDING)
),
run AS MATERIALIZED (
    SELECT j.*
    FROM judged AS j
    WHERE j.seq < coalesce((SELECT min(seq) FROM judged WHERE NOT waits OR is_too_much),
                           9223372036854775807)
),
parked AS (
    INSERT INTO outbox.outbox_retries
           (lane, due_at, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT e.lane, CASE WHEN e.ordering_key IS NULL THEN greatest(now(), e.available_at) END, e.id,
           e.event_type, e.payload, e.content_type, e.headers, e.ordering_key,
           e.idempotency_token, e.created_at, e.available_at, e.replays
    FROM free AS f
    JOIN outbox.outbox_log AS e
      ON e.lane = f.lane AND e.seq > f.position AND e.seq <= (SELECT max(seq) FROM run)
         AND pg_visible_in_snapshot(e.xid, f.window_end)
         AND NOT pg_visible_in_snapshot(e.xid, f.seen)
    ORDER BY e.seq
),
moved AS (
    UPDATE outbox.outbox_lanes AS l
    SET position = r.read_to, turn = pg_current_xact_id(),
        epoch = pg_current_xact_id()::text::bigint >> 8
    FROM free AS f, (SELECT max(seq) AS read_to FROM run) AS r
    WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
      AND r.read_to IS NOT NULL
)
SELECT count(*) AS count,
       coalesce(array_agg(DISTINCT ordering_key) FILTER (WHERE NOT is_blocked), '{}') AS keys
FROM run
