-- R2: the relay $1 has stopped.
DELETE FROM outbox.outbox_relays WHERE id = $1
