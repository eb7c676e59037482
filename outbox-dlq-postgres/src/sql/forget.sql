-- H4, H7: no count of the ids $1, and no lease.
-- Atomic: one statement. The rows are locked in the order of their ids, so it never deadlocks with
-- another batch; a row that was counted meanwhile is deleted with that count.
WITH forgotten AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE event_id = ANY ($1::uuid[])
    ORDER BY event_id
    FOR UPDATE
)
DELETE FROM outbox.outbox_dlq_heap AS heap
USING forgotten
WHERE heap.event_id = forgotten.event_id
