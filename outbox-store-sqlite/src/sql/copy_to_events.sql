-- D2: the letter at position ?1 goes to the end of the log under its id, one replay more. Runs in
-- one transaction with remove_letter.sql.
INSERT INTO outbox_events (
    id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at, replays
)
SELECT id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at, replays + 1
FROM outbox_dead_letters WHERE position = ?1;
