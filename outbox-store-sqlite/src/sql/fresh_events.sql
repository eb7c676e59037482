-- S1, S2: the events beyond the cursor (?1), in the order of their commits, each with whether its
-- key is claimed or waits: such an event is left for its key.
SELECT e.seq, e.id, e.event_type, e.payload, e.content_type, e.headers,
       e.ordering_key, e.idempotency_token, e.created_at, e.available_at,
       EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
FROM outbox_events e WHERE e.seq > ?1 ORDER BY e.seq;
