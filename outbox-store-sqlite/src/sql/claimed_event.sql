-- S4: the event ?1, if it belongs to the claim ?2, with what its key knows of its first event.
SELECT e.seq, k.key, k.attempts, k.worker_lost
FROM outbox_events e JOIN outbox_keys k ON k.key = coalesce(e.ordering_key, e.id)
WHERE e.id = ?1 AND k.token = ?2 AND e.seq <= k.last_seq;
