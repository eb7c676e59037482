-- When the next key is due or the next lease ends; NULL if there is neither.
SELECT min(at) FROM (
    SELECT min(due_at) AS at FROM outbox_keys
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL
    UNION ALL
    SELECT min(due_at) FROM outbox_keys
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL
    UNION ALL
    SELECT min(leased_until) FROM outbox_claims
);
