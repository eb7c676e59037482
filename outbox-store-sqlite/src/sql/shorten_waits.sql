-- S13: a wait that ends later than its length from now (?1), with a minute (?2) of tolerance, was
-- begun while the clock was ahead, or somebody changed it: it ends its length from now.
UPDATE outbox_keys SET due_at = ?1 + delay
WHERE token IS NULL AND held = 0 AND due_at > ?1 + ?2 AND due_at - delay > ?1 + ?2;
