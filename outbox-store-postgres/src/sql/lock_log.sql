-- Keeps all claims, settlements and other checks out until the transaction ends, also where lanes are
-- missing. A standby refuses it.
LOCK TABLE outbox.outbox_lanes IN SHARE ROW EXCLUSIVE MODE
