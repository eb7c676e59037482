-- S1, S2: up to ?2 events beyond the cursor (?1), in the order of their commits, and whether the key of
-- each is claimed or waits. A claim skips such an event. No payload is read (S11).
SELECT e.seq, e.size, e.available_at, coalesce(e.ordering_key, e.id),
       EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
FROM outbox_events e WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2;
