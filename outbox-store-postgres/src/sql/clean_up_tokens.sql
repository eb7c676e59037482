-- Deletes tokens that are older than $1, at most $2.
DELETE FROM outbox.outbox_tokens
WHERE token IN (SELECT token FROM outbox.outbox_tokens
                WHERE created_at < now() - $1::interval
                ORDER BY created_at
                LIMIT $2
                FOR UPDATE SKIP LOCKED)
