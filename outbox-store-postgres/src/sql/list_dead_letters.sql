-- D1: dead letters that match the filter $1 to $5, at most $6, after the position $7, without their
-- payloads: the length of one that is stored apart is known without reading it.
SELECT position, id, event_type, content_type, ordering_key, octet_length(payload)::bigint,
       created_at, failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays
FROM outbox.outbox_dead_letters
WHERE position > $7 /* and the filter */
ORDER BY position
LIMIT $6
