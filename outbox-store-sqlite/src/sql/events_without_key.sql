-- S13: the events behind ?1 and up to ?2 that the cursor has passed and whose key has no row. If an event
-- of them is in no claim, no claim would find it.
SELECT e.seq FROM outbox_events e
WHERE e.seq > ?1 AND e.seq <= ?2 AND e.seq <= (SELECT position FROM outbox_cursor)
  AND NOT EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
ORDER BY e.seq;
