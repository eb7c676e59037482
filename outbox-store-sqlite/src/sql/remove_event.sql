-- The event with seq ?1 leaves the outbox.
DELETE FROM outbox_events WHERE seq = ?1;
