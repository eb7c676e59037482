-- H1, H3, H10, H11: one more failure of ?1 at ?2, with the error ?3.
-- Atomic: an upsert is one statement, in the transaction of its batch.
INSERT INTO outbox_dlq_heap (event_id, failure_count, last_error, first_failed_at, last_failed_at)
VALUES (?1, 1, ?3, ?2, ?2)
ON CONFLICT (event_id) DO UPDATE SET
    failure_count = min(failure_count + 1, 4294967295),
    last_error = coalesce(excluded.last_error, last_error),
    last_failed_at = max(last_failed_at, excluded.last_failed_at)
