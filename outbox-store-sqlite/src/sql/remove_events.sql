-- Removes the events from the row number ?1 to ?2 from the log. All of them are published.
DELETE FROM outbox_events WHERE seq BETWEEN ?1 AND ?2;
