-- S13: the keys of claims that do not exist are due at ?1.
UPDATE outbox_keys SET token = NULL, due_at = ?1, delay = 0
WHERE token IS NOT NULL AND token NOT IN (SELECT token FROM outbox_claims);
