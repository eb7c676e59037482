-- H8, H9: hides up to ?3 entries with ?1 failures or more that are not leased at ?2. They are hidden
-- until ?4, which is ?5 from now. Those with the smallest turn come first; each gets a turn behind all
-- others, in their order.
-- Atomic: one statement returns the rows that it hides. A row with an invalid id or count stays.
UPDATE outbox_dlq_heap
SET leased_until = ?4, lease = ?5, turn = next.behind
FROM (
    SELECT turn AS place,
           row_number() OVER (ORDER BY turn) + (SELECT max(turn) FROM outbox_dlq_heap) AS behind
    FROM (
        SELECT turn FROM outbox_dlq_heap
        WHERE failure_count BETWEEN ?1 AND 4294967295 AND leased_until <= ?2
          AND length(event_id) = 16
        ORDER BY turn
        LIMIT ?3
    )
) AS next
WHERE outbox_dlq_heap.turn = next.place
RETURNING event_id, failure_count, last_error, first_failed_at, last_failed_at
