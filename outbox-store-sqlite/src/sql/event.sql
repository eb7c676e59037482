-- The event ?1 with its payload. A claim reads it only after it has decided to take the event (S11).
SELECT seq, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at
FROM outbox_events WHERE seq = ?1;
