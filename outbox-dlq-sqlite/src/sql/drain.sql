-- H2, H5, H6: removes and returns the entries with ?1 failures or more that are not leased at ?2.
-- Atomic: one statement returns the rows that it deletes. A row with an invalid id or count stays.
DELETE FROM outbox_dlq_heap
WHERE failure_count BETWEEN ?1 AND 4294967295 AND leased_until <= ?2 AND length(event_id) = 16
RETURNING event_id, failure_count, last_error, first_failed_at, last_failed_at
