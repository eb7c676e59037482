-- The ?2nd event behind ?1, if the cursor has passed that many.
SELECT seq FROM outbox_events
WHERE seq > ?1 AND seq <= (SELECT position FROM outbox_cursor) ORDER BY seq LIMIT 1 OFFSET ?2 - 1;
