-- Accepts the event ?2 for the consumer ?1 at ?3. Changes one row if this is the first time.
-- Atomic: in the transaction of the consumer, so the row exists if and only if the event was handled.
INSERT INTO outbox_inbox (consumer, event_id, accepted_at) VALUES (?1, ?2, ?3)
ON CONFLICT (consumer, event_id) DO NOTHING;
