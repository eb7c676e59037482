-- Removes the row of the key ?1, which neither waits nor is claimed. Its next event is a fresh one.
DELETE FROM outbox_keys WHERE key = ?1;
