-- The last of the next ?2 events behind ?1 that the cursor has passed, if there are that many.
SELECT seq FROM outbox_events
WHERE seq > ?1 AND seq <= (SELECT position FROM outbox_cursor) ORDER BY seq LIMIT 1 OFFSET ?2 - 1;
