-- S4: the events and the keys of the claim ?1, or no row if it was taken over or settled.
SELECT events, keys FROM outbox_claims WHERE token = ?1;
