-- S7: the keys of claims whose lease ran out by ?1 wait again, due at once, and their events are
-- suspects. Only an event that was alone in its claim is flagged. Runs in one transaction with
-- expire_claims.sql, so a key always has a claim or none.
UPDATE outbox_keys
SET token = NULL, due_at = ?1, delay = 0,
    suspect_seq = max(coalesce(suspect_seq, last_seq), last_seq),
    worker_lost = (SELECT length(events) = 24 FROM outbox_claims WHERE token = outbox_keys.token)
WHERE token IN (SELECT token FROM outbox_claims WHERE leased_until <= ?1);
