-- S4: ends the claim ?1. Runs in the transaction that settles its events, so a second settlement with the
-- token finds nothing.
DELETE FROM outbox_claims WHERE token = ?1;
