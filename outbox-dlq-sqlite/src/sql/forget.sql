-- H4: no count of ?1, and no lease. Atomic: one statement, in the transaction of its batch.
DELETE FROM outbox_dlq_heap WHERE event_id = ?1
