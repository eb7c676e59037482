-- H9: the next ?3 that reached ?1 and are not leased at ?2, in their turn.
-- Read in the transaction that leases them.
SELECT event_id, failure_count, last_error, first_failed_at, last_failed_at
FROM outbox_dlq_heap
WHERE failure_count >= ?1 AND leased_until <= ?2 AND length(event_id) = 16
ORDER BY turn
LIMIT ?3
