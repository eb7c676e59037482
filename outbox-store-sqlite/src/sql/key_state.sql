-- Whether the key ?1 is claimed, and how it waits if it is not.
SELECT token IS NOT NULL, last_seq, due_at, attempts, worker_lost, destination
FROM outbox_keys WHERE key = ?1;
