-- Forgets up to ?3 events of the consumer ?1 that were accepted before ?2, oldest first.
DELETE FROM outbox_inbox
WHERE (consumer, event_id) IN (SELECT consumer, event_id FROM outbox_inbox
                               WHERE consumer = ?1 AND accepted_at < ?2
                               ORDER BY accepted_at
                               LIMIT ?3);
