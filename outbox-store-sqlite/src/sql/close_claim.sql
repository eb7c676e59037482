-- S4: ends the claim ?1 and returns its events, or nothing if it was taken over or is settled. First
-- in the transaction of a settlement, so that a second one with the token finds nothing.
DELETE FROM outbox_claims WHERE token = ?1 RETURNING events;
