-- S4, S7: removes the claims whose lease has ended at ?1. Their settlement then finds nothing.
DELETE FROM outbox_claims WHERE leased_until <= ?1;
