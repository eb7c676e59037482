-- Removes up to ?3 entries whose last failure is before ?1 and that are not leased at ?2.
-- Atomic: one statement.
DELETE FROM outbox_dlq_heap
WHERE turn IN (
    SELECT turn FROM outbox_dlq_heap WHERE last_failed_at < ?1 AND leased_until <= ?2 LIMIT ?3
)
