-- The event ?1 and the state of its key, for a quarantine.
SELECT e.seq, e.replays, e.size, coalesce(e.ordering_key, e.id), k.token IS NOT NULL,
       coalesce(k.last_seq, 0), coalesce(k.attempts, 0), coalesce(k.held, 0)
FROM outbox_events e LEFT JOIN outbox_keys k ON k.key = coalesce(e.ordering_key, e.id)
WHERE e.id = ?1;
