-- When time alone will bring work: the next due key or the next lease to run out, else NULL.
SELECT min(at) FROM (
    SELECT min(due_at) AS at FROM outbox_keys
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL
    UNION ALL
    SELECT min(due_at) FROM outbox_keys
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL
    UNION ALL
    SELECT min(leased_until) FROM outbox_claims
);
