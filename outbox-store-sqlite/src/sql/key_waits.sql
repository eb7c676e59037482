-- S5: the key ?1 waits until ?2, which is ?3 from now, and S9: until a dead letter is gone if ?4 is 1. Its
-- first event is ?5. S23: a resumption of the destination ?8 ends the wait. ?9 is the error of the attempt
-- that failed; without one, the error stays as long as the attempts do. The key stops being a suspect if its
-- first event is behind the lost claim.
INSERT INTO outbox_keys
    (key, token, due_at, delay, held, last_seq, attempts, worker_lost, destination, last_error)
VALUES (?1, NULL, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (key) DO UPDATE SET
    token = NULL,
    due_at = excluded.due_at,
    delay = excluded.delay,
    held = excluded.held,
    last_seq = excluded.last_seq,
    attempts = excluded.attempts,
    worker_lost = excluded.worker_lost,
    destination = excluded.destination,
    last_error = CASE WHEN excluded.attempts > 0 THEN coalesce(excluded.last_error, last_error) END,
    suspect_seq = CASE WHEN suspect_seq >= excluded.last_seq THEN suspect_seq END;
