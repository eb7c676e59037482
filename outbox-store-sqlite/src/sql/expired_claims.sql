-- S7: the claims whose lease has ended at ?1.
SELECT token, events, keys FROM outbox_claims WHERE leased_until <= ?1;
