-- H8, H9: hides ?1 until ?2, and puts it behind all others.
-- In the transaction that chose it, so no other lease can choose it too.
UPDATE outbox_dlq_heap
SET leased_until = ?2, turn = (SELECT max(turn) + 1 FROM outbox_dlq_heap)
WHERE event_id = ?1
