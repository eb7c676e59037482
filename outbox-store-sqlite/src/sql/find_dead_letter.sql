-- The dead letter of the event ?1, without its payload.
SELECT position, id, event_type, content_type, ordering_key, created_at, payload_size,
       failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays
FROM outbox_dead_letters WHERE id = ?1;
