-- The event ?1 as it is in the quarantine, with its payload.
SELECT position, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at
FROM outbox_dead_letters WHERE id = ?1;
