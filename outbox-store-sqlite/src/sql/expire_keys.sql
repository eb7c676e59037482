-- S7: the keys of claims whose lease has ended at ?1 are due now, and their events are suspects. An event
-- that was alone in its claim gets the mark of a lost worker. Runs in one transaction with
-- expire_claims.sql, so a key never belongs to a claim that does not exist.
UPDATE outbox_keys
SET token = NULL, due_at = ?1, delay = 0,
    suspect_seq = max(coalesce(suspect_seq, last_seq), last_seq),
    worker_lost = (SELECT size = 1 FROM outbox_claims WHERE token = outbox_keys.token)
WHERE token IN (SELECT token FROM outbox_claims WHERE leased_until <= ?1);
