-- S23: makes up to ?3 keys due at ?1 that are held for the destination ?2, those whose delay ends
-- first. A key that is blocked or due does not count.
UPDATE outbox_keys SET due_at = ?1, delay = 0, destination = NULL
WHERE key IN (
    SELECT key FROM outbox_keys
    WHERE token IS NULL AND destination IS NOT NULL AND destination = ?2 AND held = 0 AND due_at > ?1
    ORDER BY due_at LIMIT ?3
);
