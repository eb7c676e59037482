-- Deletes up to $2 entries that are not leased and whose last failure is older than $1.
-- Atomic: one statement. A row that another call has locked is skipped, because it is about to change.
WITH old AS (
    SELECT event_id FROM outbox.outbox_dlq_heap
    WHERE last_failed_at < now() - $1 AND leased_until <= now()
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM outbox.outbox_dlq_heap AS heap
USING old
WHERE heap.event_id = old.event_id
