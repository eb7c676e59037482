-- $1 consumer, $2 the age from which events are forgotten, $3 limit. Several may clean up at once.
DELETE FROM outbox.outbox_inbox
WHERE (consumer, event_id) IN (SELECT consumer, event_id FROM outbox.outbox_inbox
                               WHERE consumer = $1 AND accepted_at < now() - $2::interval
                               ORDER BY accepted_at
                               LIMIT $3
                               FOR UPDATE SKIP LOCKED)
