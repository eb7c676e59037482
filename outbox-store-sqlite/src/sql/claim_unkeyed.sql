-- S7: the event ?1 without an ordering key, with the row number ?2, has a row of the claim ?3 from ?4 on.
INSERT INTO outbox_keys (key, token, last_seq, due_at)
SELECT id, ?3, seq, ?4 FROM outbox_events
WHERE seq = ?2 AND id = ?1 AND ordering_key IS NULL
ON CONFLICT (key) DO NOTHING;
