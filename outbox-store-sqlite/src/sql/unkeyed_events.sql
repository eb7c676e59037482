-- The event ?1 without an ordering key, if it is behind ?3 and the cursor (?2) has passed it.
SELECT seq, size, available_at FROM outbox_events
WHERE id = ?1 AND ordering_key IS NULL AND seq <= ?2 AND seq > ?3;
