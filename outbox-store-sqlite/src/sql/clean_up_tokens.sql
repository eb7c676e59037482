-- Removes up to ?2 idempotency tokens that were taken before ?1, oldest first.
DELETE FROM outbox_tokens WHERE token IN (
    SELECT token FROM outbox_tokens WHERE created_at < ?1 ORDER BY created_at LIMIT ?2
);
