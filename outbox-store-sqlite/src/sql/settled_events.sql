-- The events from the row number ?1 to ?2 as they are now, and whether the key of each has a row. S13: they
-- may have been changed by hand after they were claimed. No payload is read.
SELECT e.seq, e.id, coalesce(e.ordering_key, e.id),
       EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
FROM outbox_events e WHERE e.seq BETWEEN ?1 AND ?2;
