-- H8: shortens the leases that end later than their length from now (?1), with a minute of tolerance.
-- They were taken while the clock was ahead, or were edited by hand. They end their length from now.
-- Atomic: one statement.
UPDATE outbox_dlq_heap SET leased_until = ?1 + lease
WHERE leased_until > ?1 + 60000000 AND leased_until - lease > ?1 + 60000000
