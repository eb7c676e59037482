-- S5, S6: the key that is due for the longest time at ?1, without suspects.
SELECT key, due_at, attempts, worker_lost,
       CASE WHEN suspect_seq IS NULL OR worker_lost = 1 THEN last_seq END
FROM outbox_keys
WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL AND due_at <= ?1
ORDER BY due_at LIMIT 1;
