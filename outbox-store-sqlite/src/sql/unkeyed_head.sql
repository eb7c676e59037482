-- The event ?1 without an ordering key, if the cursor (?2) has passed it. No dead letter blocks it.
SELECT (SELECT seq FROM outbox_events WHERE id = ?1 AND ordering_key IS NULL AND seq <= ?2), NULL;
