-- D2: copies the dead letter at the position ?1 into the log, with the same id and one replay more. It
-- becomes the last event. If it blocks its key it gets its old row number, because the later events of the
-- key still wait behind that. Runs in one transaction with remove_dead_letter.sql.
INSERT INTO outbox_events (
    seq, id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at, replays
)
SELECT CASE WHEN holds = 1 THEN seq END, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at, min(replays + 1, 4294967295)
FROM outbox_dead_letters WHERE position = ?1;
