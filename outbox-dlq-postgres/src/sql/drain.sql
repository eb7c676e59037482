-- H2, H5, H6: removes and returns all entries that have reached $1 and are not leased.
-- Atomic for each entry: the statement returns exactly the rows that it deletes. The rows are locked in the
-- order of their ids, so it never deadlocks with a batch. It waits for a row that another call has locked,
-- and checks it again: the row is returned with its newest count, or left if it was removed or leased.
WITH exceeded AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE failure_count >= $1 AND leased_until <= now()
    ORDER BY event_id
    FOR UPDATE
)
DELETE FROM outbox.outbox_dlq_heap AS heap
USING exceeded
WHERE heap.event_id = exceeded.event_id
RETURNING heap.event_id, failure_count, last_error, first_failed_at, last_failed_at
