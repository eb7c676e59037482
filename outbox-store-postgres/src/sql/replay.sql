-- D2, D4: moves the first $6 dead letters that match the filter $1 to $5 of filter.sql back, with at most $7
-- bytes together, but at least one. An event becomes the last of its key, as a new row of the log that
-- replaces its consumed row. If it blocked its key, it returns to its old place (S9), or to the next place
-- if that is taken.
-- Atomic: one statement deletes and inserts, so an event is never in both tables or in neither.
WITH matching AS (
    SELECT position, payload, headers
    FROM outbox.outbox_dead_letters
    WHERE true /* and the filter */
    ORDER BY position
    LIMIT $6
    FOR UPDATE
),
sized AS (
    SELECT position, row_number() OVER in_order AS number,
           sum(octet_length(payload) + coalesce(octet_length(headers::text), 0)) OVER in_order AS total
    FROM matching
    WINDOW in_order AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
),
gone AS (
    DELETE FROM outbox.outbox_dead_letters
    WHERE position IN (SELECT position FROM sized WHERE total <= $7 OR number = 1)
    RETURNING *, CASE WHEN ordering_key IS NULL THEN uuid_hash_extended(id, 0)
                      ELSE hashtextextended(ordering_key, 0) END & 15 AS own_lane
),
back AS (
    INSERT INTO outbox.outbox_retries
           (place, lane, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT place, own_lane, id, event_type, payload, content_type, headers, ordering_key,
           idempotency_token, created_at, available_at, replays + 1
    FROM gone AS g
    WHERE holds AND NOT EXISTS (SELECT FROM outbox.outbox_retries AS r WHERE r.place = g.place)
),
next AS (
    INSERT INTO outbox.outbox_retries
           (lane, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT own_lane, id, event_type, payload, content_type, headers, ordering_key,
           idempotency_token, created_at, available_at, replays + 1
    FROM gone AS g
    WHERE holds AND EXISTS (SELECT FROM outbox.outbox_retries AS r WHERE r.place = g.place)
    ORDER BY position
),
again AS (
    INSERT INTO outbox.outbox_events
           (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
            created_at, available_at, replays)
    SELECT id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
           created_at, available_at, replays + 1
    FROM gone WHERE NOT holds
    ORDER BY position
    ON CONFLICT (id) DO UPDATE
    SET xid = DEFAULT, seq = DEFAULT, event_type = excluded.event_type,
        payload = excluded.payload, content_type = excluded.content_type,
        headers = excluded.headers, ordering_key = excluded.ordering_key,
        idempotency_token = excluded.idempotency_token, created_at = excluded.created_at,
        available_at = excluded.available_at, replays = excluded.replays
)
SELECT id, own_lane::smallint, CASE WHEN holds THEN ordering_key END AS held_key
FROM gone ORDER BY position
