-- S3: the key ?1 belongs to the claim ?2 with its events up to ?3.
INSERT INTO outbox_keys (key, token, last_seq, due_at, attempts, worker_lost)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (key) DO UPDATE SET
    token = excluded.token,
    last_seq = excluded.last_seq,
    attempts = excluded.attempts,
    worker_lost = excluded.worker_lost,
    destination = NULL;
