-- $1 consumer, $2 event. One row if it comes for the first time. In the consumer's own transaction,
-- so that the row exists if and only if the event was handled. Another delivery waits for its end.
INSERT INTO outbox.outbox_inbox (consumer, event_id) VALUES ($1, $2)
ON CONFLICT (consumer, event_id) DO NOTHING
