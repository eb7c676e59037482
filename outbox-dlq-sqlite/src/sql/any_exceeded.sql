-- Whether any entry reached the threshold ?1, or has a count that cannot be one: answered by the
-- index on the count.
SELECT EXISTS (SELECT 1 FROM outbox_dlq_heap WHERE failure_count >= ?1)
    OR EXISTS (SELECT 1 FROM outbox_dlq_heap WHERE failure_count < 1)
