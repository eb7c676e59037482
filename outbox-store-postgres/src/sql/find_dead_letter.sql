-- The dead letter of the event $1 with the columns of list_dead_letters.sql, then the event.
SELECT position, id, event_type, content_type, ordering_key, octet_length(payload)::bigint,
       created_at, failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, replays,
       id, event_type, payload, content_type, headers, ordering_key, idempotency_token, created_at,
       available_at
FROM outbox.outbox_dead_letters
WHERE id = $1
