-- The keys of the claim ?1, with what each knows of its first event.
SELECT key, attempts, worker_lost FROM outbox_keys WHERE token = ?1;
