-- S4, S7: a claim whose lease ran out by ?1 is gone; its settlement then finds nothing.
DELETE FROM outbox_claims WHERE leased_until <= ?1 RETURNING events;
