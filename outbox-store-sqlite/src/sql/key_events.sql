-- S2: the events of the ordering key ?1 behind ?3 that the cursor (?2) has passed, in order. No payload is
-- read (S11).
SELECT seq, size, available_at FROM outbox_events
WHERE ordering_key = ?1 AND seq <= ?2 AND seq > ?3 ORDER BY seq;
