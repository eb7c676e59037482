-- Records that the consumer $1 handles the event $2. One row is inserted if the event comes for the first
-- time. Atomic: it runs in the consumer's transaction, so the row exists if and only if the event was
-- handled. Another delivery of the event waits for the end of that transaction.
INSERT INTO outbox.outbox_inbox (consumer, event_id) VALUES ($1, $2)
ON CONFLICT (consumer, event_id) DO NOTHING
