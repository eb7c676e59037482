-- The key ?1 neither waits nor is claimed: what comes next of it is fresh.
DELETE FROM outbox_keys WHERE key = ?1;
