-- The keys of the claim ?1, with the history of the first event of each.
SELECT key, attempts, worker_lost FROM outbox_keys WHERE token = ?1;
