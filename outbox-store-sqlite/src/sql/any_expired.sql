-- Whether the lease of any claim ran out by ?1.
SELECT EXISTS (SELECT 1 FROM outbox_claims WHERE leased_until <= ?1);
