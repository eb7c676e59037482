-- Removes the event with the row number ?1 from the log.
DELETE FROM outbox_events WHERE seq = ?1 RETURNING id;
