-- S2: the events of the ordering key ?1 that the cursor (?2) has passed, in order.
SELECT seq, id, event_type, payload, content_type, headers,
       ordering_key, idempotency_token, created_at, available_at
FROM outbox_events WHERE ordering_key = ?1 AND seq <= ?2 ORDER BY seq;
