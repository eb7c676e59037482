-- S7: the suspect key that is due for the longest time at ?1.
SELECT key, due_at, attempts, worker_lost,
       CASE WHEN suspect_seq IS NULL OR worker_lost = 1 THEN last_seq END
FROM outbox_keys
WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL AND due_at <= ?1
ORDER BY due_at LIMIT 1;
