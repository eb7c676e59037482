-- H8, H9: leases up to $2 entries that have reached $1 for the time $3, those first that wait longest.
-- Atomic: one statement. A row that another call has locked is skipped: either that call leases it, or the
-- next lease finds it. So this statement waits for no other, and never deadlocks.
WITH next AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE failure_count >= $1 AND leased_until <= now()
    ORDER BY greatest(first_failed_at, leased_until)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox.outbox_dlq_heap AS heap
SET leased_until = now() + $3
FROM next
WHERE heap.event_id = next.event_id
RETURNING heap.event_id, failure_count, last_error, first_failed_at, last_failed_at
