-- How much is tracked, and since when.
SELECT count(*), min(first_failed_at) FROM outbox.outbox_dlq_heap
