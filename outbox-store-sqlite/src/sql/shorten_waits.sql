-- S13: shortens the waits that end later than their length from now (?1), with a minute (?2) of tolerance.
-- They began while the clock was ahead, or were changed by hand. They end their length from now.
UPDATE outbox_keys SET due_at = ?1 + delay
WHERE token IS NULL AND held = 0 AND due_at > ?1 + ?2 AND due_at - delay > ?1 + ?2;
