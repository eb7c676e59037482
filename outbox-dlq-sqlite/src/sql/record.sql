-- H1, H3, H7, H10, H11: counts one more failure of ?1 at ?2, with the error ?3. An invalid count starts
-- again at 1; to add to it would fail the whole batch.
-- Atomic: one upsert, in the transaction of its batch.
INSERT INTO outbox_dlq_heap (event_id, failure_count, last_error, first_failed_at, last_failed_at)
VALUES (?1, 1, ?3, ?2, ?2)
ON CONFLICT (event_id) DO UPDATE SET
    failure_count = CASE WHEN failure_count BETWEEN 1 AND 4294967295
                         THEN min(failure_count + 1, 4294967295) ELSE 1 END,
    last_error = coalesce(excluded.last_error, last_error),
    last_failed_at = max(first_failed_at, last_failed_at, excluded.last_failed_at)
