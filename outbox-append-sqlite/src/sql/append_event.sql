-- S1: one event, in the transaction of the producer: the event exists if and only if that commits.
INSERT INTO outbox_events (
    id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
