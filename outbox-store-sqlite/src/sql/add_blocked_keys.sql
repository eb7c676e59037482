-- S9, S13: adds a row for each key that a dead letter blocks and that has none. The next claim checks at ?1
-- whether the key is blocked.
INSERT INTO outbox_keys (key, last_seq, due_at)
SELECT ordering_key, min(seq), ?1 FROM outbox_dead_letters
WHERE holds = 1 AND ordering_key IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outbox_keys WHERE key = ordering_key)
GROUP BY ordering_key;
