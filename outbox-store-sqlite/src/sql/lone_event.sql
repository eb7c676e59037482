-- The event ?1 without an ordering key, if the cursor (?2) has passed it.
SELECT seq, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at
FROM outbox_events WHERE id = ?1 AND ordering_key IS NULL AND seq <= ?2;
