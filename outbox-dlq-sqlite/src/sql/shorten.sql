-- H8: a lease that ends later than its length from now (?1), with a minute of tolerance, was made while
-- the clock was ahead, or somebody changed it: it ends its length from now.
UPDATE outbox_dlq_heap SET leased_until = ?1 + lease
WHERE leased_until > ?1 + 60000000 AND leased_until - lease > ?1 + 60000000
