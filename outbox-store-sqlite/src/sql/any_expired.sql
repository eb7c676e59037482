-- Whether the lease of a claim has ended at ?1.
SELECT EXISTS (SELECT 1 FROM outbox_claims WHERE leased_until <= ?1);
