-- H4, H7: removes the count and the lease of ?1.
-- Atomic: one statement, in the transaction of its batch.
DELETE FROM outbox_dlq_heap WHERE event_id = ?1
