-- Blocks all claims, settlements and other checks until the transaction ends, even if lanes are missing. A
-- standby refuses it.
LOCK TABLE outbox.outbox_lanes IN SHARE ROW EXCLUSIVE MODE
