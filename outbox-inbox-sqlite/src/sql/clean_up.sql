-- ?1 consumer, ?2 the time before which events are forgotten, ?3 limit.
DELETE FROM outbox_inbox
WHERE (consumer, event_id) IN (SELECT consumer, event_id FROM outbox_inbox
                               WHERE consumer = ?1 AND accepted_at < ?2
                               ORDER BY accepted_at
                               LIMIT ?3);
