-- R6: up to ?1 keys that a dead letter blocks, with the first dead letter of each, the longest blocked first.
SELECT ordering_key, id, quarantined_at, last_error, min(seq)
FROM outbox_dead_letters
WHERE holds = 1 AND ordering_key IS NOT NULL
GROUP BY ordering_key
ORDER BY quarantined_at, id
LIMIT ?1;
