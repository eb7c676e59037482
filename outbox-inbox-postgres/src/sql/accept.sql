-- Accepts the event $2 for the consumer $1. Changes one row if this is the first time.
-- Atomic: in the transaction of the consumer, so the row exists if and only if the event was handled.
-- A concurrent delivery of the event waits until this transaction ends.
INSERT INTO outbox.outbox_inbox (consumer, event_id) VALUES ($1, $2)
ON CONFLICT (consumer, event_id) DO NOTHING
