-- H4, H7: deletes the counts of the ids $1, and their leases.
-- Atomic: one statement. The rows are locked in the order of their ids, so it never deadlocks with
-- another batch. A failure that is counted while it waits for the row is deleted too.
WITH forgotten AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE event_id = ANY ($1::uuid[])
    ORDER BY event_id
    FOR UPDATE
)
DELETE FROM outbox.outbox_dlq_heap AS heap
USING forgotten
WHERE heap.event_id = forgotten.event_id
