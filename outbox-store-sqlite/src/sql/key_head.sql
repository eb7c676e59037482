-- The first event of the ordering key ?1 that the cursor (?2) has passed.
SELECT seq FROM outbox_events WHERE ordering_key = ?1 AND seq <= ?2 ORDER BY seq LIMIT 1;
