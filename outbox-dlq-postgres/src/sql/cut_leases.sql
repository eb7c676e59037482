-- H8: leases that end later than $1 from now, which is longer than a lease is: they were taken while the
-- clock was wrong, and would hide their entries for as long as it was. They end now.
-- Atomic: one statement. A row that another call holds is skipped until the next time.
WITH far AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE leased_until > now() + $1
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox.outbox_dlq_heap AS heap
SET leased_until = now()
FROM far
WHERE heap.event_id = far.event_id
