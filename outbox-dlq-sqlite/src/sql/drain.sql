-- H2, H5, H6: takes out all that reached ?1 and is not leased at ?2.
-- Atomic: what is deleted is what is returned. An id of a wrong length is foreign and stays.
DELETE FROM outbox_dlq_heap
WHERE failure_count >= ?1 AND leased_until <= ?2 AND length(event_id) = 16
RETURNING event_id, failure_count, last_error, first_failed_at, last_failed_at
