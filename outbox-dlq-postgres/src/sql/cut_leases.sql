-- H8: ends leases that would end later than $1 from now. That is longer than any lease, so they were taken
-- while the server's clock was ahead, and would hide their entries for too long.
-- Atomic: one statement. A row that another call has locked is skipped until the next call.
WITH far AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE leased_until > now() + $1
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox.outbox_dlq_heap AS heap
SET leased_until = now()
FROM far
WHERE heap.event_id = far.event_id
