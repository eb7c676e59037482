-- How many entries there are, and the first failure of the oldest.
SELECT count(*), min(first_failed_at) FROM outbox_dlq_heap
