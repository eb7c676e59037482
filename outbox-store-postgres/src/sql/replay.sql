-- D2, D4: moves the first $6 letters that match the filter $1 to $5 back. One statement deletes and
-- inserts, so an event is never in both places or in neither. It comes last of its key: as a new
-- row of the log (in the place of its consumed one); or to its old place if it held the key (S9).
WITH gone AS (
    DELETE FROM outbox.outbox_dead_letters
    WHERE position IN (SELECT position
                       FROM outbox.outbox_dead_letters
                       WHERE ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
                       ORDER BY position
                       LIMIT $6
                       FOR UPDATE)
    RETURNING *
),
back AS (
    INSERT INTO outbox.outbox_retries
           (place, lane, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT place, lane, id, event_type, payload, content_type, headers, ordering_key,
           idempotency_token, created_at, available_at, replays + 1
    FROM gone WHERE holds
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
SELECT id, lane, CASE WHEN holds THEN ordering_key END AS held_key FROM gone ORDER BY position
