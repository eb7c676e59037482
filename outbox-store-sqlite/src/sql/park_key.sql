-- S5: the key ?1 waits until ?2; its first event is ?3. It is a suspect no longer once that is
-- beyond the lost claim.
INSERT INTO outbox_keys (key, token, last_seq, due_at, attempts, worker_lost)
VALUES (?1, NULL, ?3, ?2, ?4, ?5)
ON CONFLICT (key) DO UPDATE SET
    token = NULL,
    due_at = excluded.due_at,
    attempts = excluded.attempts,
    worker_lost = excluded.worker_lost,
    suspect_seq = CASE WHEN suspect_seq >= excluded.last_seq THEN suspect_seq END;
