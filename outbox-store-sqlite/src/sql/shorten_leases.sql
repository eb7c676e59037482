-- S13: shortens the leases that end later than their length from now (?1), with a minute (?2) of tolerance.
-- They were taken while the clock was ahead, or were changed by hand. They end their length from now.
UPDATE outbox_claims SET leased_until = ?1 + lease WHERE leased_until - lease > ?1 + ?2;
