-- S1, S2: up to ?2 events beyond the cursor (?1), in the order of their commits, and whether the key of
-- each has a row: it is claimed or waits, so a claim skips the event. S11: the payload and the headers are
-- read at once only if they have up to ?3 bytes, as they are on the page of the row then.
SELECT e.seq, e.id, e.event_type, CASE WHEN e.size <= ?3 THEN e.payload END, e.content_type,
       CASE WHEN e.size <= ?3 THEN e.headers END,
       e.ordering_key, e.idempotency_token, e.created_at, e.available_at, e.size,
       EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
FROM outbox_events e WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2;
