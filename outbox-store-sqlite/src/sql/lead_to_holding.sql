-- S9, S13: a key that a dead letter holds has a row. The next claim looks whether it is held, at ?1.
INSERT INTO outbox_keys (key, last_seq, due_at)
SELECT ordering_key, min(seq), ?1 FROM outbox_dead_letters
WHERE holds = 1 AND ordering_key IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outbox_keys WHERE key = ordering_key)
GROUP BY ordering_key;
