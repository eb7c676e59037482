-- D1: dead letters that match the filter $1 to $5, at most $6, after the position $7, without their
-- payloads: the length of one that is stored apart is known without reading it.
SELECT position, id, event_type, content_type, ordering_key, octet_length(payload)::bigint,
       created_at, failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays
FROM outbox.outbox_dead_letters
WHERE position > $7
  AND ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
ORDER BY position
LIMIT $6
