-- Up to ?2 dead letters behind the position ?1, oldest first. No payload is read.
SELECT position, id, event_type, content_type, ordering_key, created_at, payload_size,
       failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays
FROM outbox_dead_letters
WHERE position > ?1 /* and the filter */
ORDER BY position LIMIT ?2;
