-- S1: one event, in the producer's own transaction: it is there exactly if that commits.
INSERT INTO outbox_events (
    id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
