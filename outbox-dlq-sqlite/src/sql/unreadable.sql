-- The rows that a drain or a lease at the threshold ?1 skips, as their id or count is invalid: how many
-- (up to 1,000), and the turn of the first.
SELECT count(*), min(turn) FROM (
    SELECT turn FROM outbox_dlq_heap
    WHERE failure_count < 1 OR failure_count > 4294967295
       OR (failure_count >= ?1 AND length(event_id) <> 16)
    LIMIT 1000
)
