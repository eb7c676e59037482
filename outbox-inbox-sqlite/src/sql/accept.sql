-- ?1 consumer, ?2 event, ?3 now. One row if it comes for the first time. In the consumer's own
-- transaction, so that the row stands if and only if the event was handled.
INSERT INTO outbox_inbox (consumer, event_id, accepted_at) VALUES (?1, ?2, ?3)
ON CONFLICT (consumer, event_id) DO NOTHING;
