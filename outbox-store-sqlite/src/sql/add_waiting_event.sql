-- S7, S13: the event with the row number ?1 waits with the key that it has now.
INSERT INTO outbox_waiting (key, seq)
SELECT coalesce(ordering_key, id), seq FROM outbox_events WHERE seq = ?1
ON CONFLICT (key, seq) DO NOTHING;
