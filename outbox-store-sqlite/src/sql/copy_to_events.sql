-- D2: the dead letter at position ?1 goes back to the log under its id, one replay more: to the end,
-- or to its old place if it holds its key, as its successors still wait behind that. Runs in one
-- transaction with remove_dead_letter.sql.
INSERT INTO outbox_events (
    seq, id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at, replays
)
SELECT CASE WHEN holds = 1 THEN seq END, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at, min(replays + 1, 4294967295)
FROM outbox_dead_letters WHERE position = ?1;
