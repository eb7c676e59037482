-- How many entries there are, and when the oldest failed first.
SELECT count(*), min(first_failed_at) FROM outbox.outbox_dlq_heap
