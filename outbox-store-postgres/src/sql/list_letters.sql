-- D1: letters that match the filter $1 to $5, at most $6, after the position $7.
SELECT position, id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
       created_at, available_at, failure_count, last_error, first_failed_at, last_failed_at,
       quarantined_at, replays
FROM outbox.outbox_dead_letters
WHERE position > $7
  AND ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
ORDER BY position
LIMIT $6
