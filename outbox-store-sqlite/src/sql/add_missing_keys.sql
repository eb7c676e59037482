-- S13: adds the missing rows for the keys of events behind ?1 and up to ?2, due at ?3.
INSERT INTO outbox_keys (key, last_seq, due_at)
SELECT coalesce(e.ordering_key, e.id), min(e.seq), ?3 FROM outbox_events e
WHERE e.seq > ?1 AND e.seq <= ?2 AND e.seq <= (SELECT position FROM outbox_cursor)
  AND NOT EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
GROUP BY 1;
