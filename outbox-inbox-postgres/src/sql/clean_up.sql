-- Forgets up to $3 events of the consumer $1 that are older than $2, oldest first.
-- Concurrent clean-ups skip the rows of each other.
DELETE FROM outbox.outbox_inbox
WHERE (consumer, event_id) IN (SELECT consumer, event_id FROM outbox.outbox_inbox
                               WHERE consumer = $1 AND accepted_at < now() - $2::interval
                               ORDER BY accepted_at
                               LIMIT $3
                               FOR UPDATE SKIP LOCKED)
