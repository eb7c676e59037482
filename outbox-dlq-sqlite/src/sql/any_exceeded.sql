-- Whether an entry has ?1 failures or more, or an invalid count. The index on the count answers it.
SELECT EXISTS (SELECT 1 FROM outbox_dlq_heap WHERE failure_count >= ?1)
    OR EXISTS (SELECT 1 FROM outbox_dlq_heap WHERE failure_count < 1)
