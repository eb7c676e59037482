-- D1: up to $6 dead letters after the position $7 that match the filter $1 to $5 of filter.sql, without their
-- payloads. The length of a payload that is stored out of line is known without reading it.
SELECT position, id, event_type, content_type, ordering_key, octet_length(payload)::bigint,
       created_at, failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays
FROM outbox.outbox_dead_letters
WHERE position > $7 /* and the filter */
ORDER BY position
LIMIT $6
