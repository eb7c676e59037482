-- H2, H5, H6: takes out all that reached ?1 and is not leased at ?2.
-- Atomic: what is deleted is what is returned. A row whose id or count cannot be one stays.
DELETE FROM outbox_dlq_heap
WHERE failure_count BETWEEN ?1 AND 4294967295 AND leased_until <= ?2 AND length(event_id) = 16
RETURNING event_id, failure_count, last_error, first_failed_at, last_failed_at
