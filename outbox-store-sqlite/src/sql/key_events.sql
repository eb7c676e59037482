-- S2: the waiting events of the key ?1 behind ?3 that the cursor (?2) has passed, in order. S13: a row of an
-- event that left or has another key now is skipped. No payload is read (S11).
SELECT w.seq, e.size, e.available_at
FROM outbox_waiting w CROSS JOIN outbox_events e ON e.seq = w.seq
WHERE w.key = ?1 AND w.seq <= ?2 AND w.seq > ?3 AND coalesce(e.ordering_key, e.id) = w.key
ORDER BY w.seq;
