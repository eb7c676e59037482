-- R2: the relay ?1 has stopped.
DELETE FROM outbox_relays WHERE id = ?1;
