-- S8: moves waiting events to the dead letters. For each: $1 place, $2 failures, $3 error, $4 and $5 first
-- and last failure (NULL: now), $7 id. $6: whether they block their keys.
--
-- Atomic: one statement deletes and inserts, so each event moves at most once. A dead letter of the same id
-- is replaced. The consumed row of the log is deleted too, so that the id is free again. An event that is
-- not at its place is skipped.
WITH gone AS (
    DELETE FROM outbox.outbox_retries AS r
    USING unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[],
                 $7::uuid[])
          AS f (place, count, error, first_at, last_at, id)
    WHERE r.place = f.place AND r.id = f.id
    RETURNING r.*, f.count, f.error,
              coalesce(f.first_at, now()) AS first_at,
              coalesce(f.last_at, now()) AS last_at
),
lanes AS MATERIALIZED (
    SELECT * FROM outbox.outbox_newest
),
consumed AS (
    DELETE FROM outbox.outbox_log AS e
    USING gone AS g, lanes AS l
    WHERE e.id = g.id AND l.lane = e.lane
      AND (pg_visible_in_snapshot(e.xid, l.seen)
           OR coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
              AND e.seq <= l.position)
)
INSERT INTO outbox.outbox_dead_letters AS d
       (place, id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
        created_at, available_at, replays, lane, failure_count, last_error, first_failed_at,
        last_failed_at, quarantined_at, holds)
SELECT
       place, id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
       created_at, available_at, replays, lane, count, error, first_at, last_at,
       now(), $6 AND ordering_key IS NOT NULL
FROM gone
ORDER BY place
ON CONFLICT (id) DO UPDATE
SET position = DEFAULT, place = excluded.place, event_type = excluded.event_type,
    payload = excluded.payload, content_type = excluded.content_type, headers = excluded.headers,
    ordering_key = excluded.ordering_key, idempotency_token = excluded.idempotency_token,
    created_at = excluded.created_at, available_at = excluded.available_at,
    replays = excluded.replays, lane = excluded.lane, failure_count = excluded.failure_count,
    last_error = excluded.last_error, first_failed_at = excluded.first_failed_at,
    last_failed_at = excluded.last_failed_at, quarantined_at = excluded.quarantined_at, holds = excluded.holds
RETURNING id
