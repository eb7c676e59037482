-- Appends one event in the caller's transaction. append.sql does the same, but takes longer to start.
INSERT INTO outbox.outbox_events
       (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
        created_at, available_at)
VALUES ($1, $2, $3, $4, $5::text::json, $6, $7, $8, $9)
