-- S13: the key of the event with the row number ?1 waits, due at ?2, if it has no row. The event may have
-- been given another key by hand while it was claimed.
INSERT INTO outbox_keys (key, last_seq, due_at)
SELECT coalesce(ordering_key, id), seq, ?2 FROM outbox_events
WHERE seq = ?1
  AND NOT EXISTS (SELECT 1 FROM outbox_keys
                  WHERE key = coalesce(outbox_events.ordering_key, outbox_events.id));
