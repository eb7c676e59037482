-- S8: copies the event with the row number ?1 into the quarantine, unchanged. Runs in one transaction with
-- remove_event.sql, so a reader sees the event in one place. An older dead letter of the event is replaced.
-- S9: the dead letter blocks its key if ?7 is 1.
INSERT OR REPLACE INTO outbox_dead_letters (
    seq, id, event_type, payload, content_type, headers,
    ordering_key, idempotency_token, created_at, available_at, replays,
    failure_count, last_error, first_failed_at, last_failed_at, quarantined_at, holds
)
SELECT seq, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at, replays,
       ?2, ?3, ?4, ?5, ?6, ?7 AND ordering_key IS NOT NULL
FROM outbox_events WHERE seq = ?1;
