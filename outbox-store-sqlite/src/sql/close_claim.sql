-- S4: ends the claim ?1 and returns its events, or no row if it was taken over or settled. A settlement
-- runs it first, so a second settlement with the token finds nothing.
DELETE FROM outbox_claims WHERE token = ?1 RETURNING events;
