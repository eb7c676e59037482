-- S5, S22, S23: events of the retries that must wait once more. For each: $1 place, $2 id, $3 delay (NULL: it
-- waits for an earlier event of its key), $4 failed attempts, $5 whether it is a suspect after a lost claim
-- (S7), $6 whether it was alone in that claim, $7 whether an earlier event of its key may wait, so that
-- promote.sql gives it its due time, $8 the destination for which it is held, $9 the claim that keeps it, $10
-- the error of its attempt. An event that was deleted is skipped.
UPDATE outbox.outbox_retries AS r
SET due_at = CASE WHEN NOT p.in_turn OR r.ordering_key IS NULL THEN now() + p.delay END,
    delayed_until = now() + p.delay,
    attempts = p.attempts,
    suspect = p.suspect,
    worker_lost = p.worker_lost,
    held_for = p.held_for,
    kept_by = p.kept_by,
    last_error = coalesce(p.last_error, r.last_error)
FROM unnest($1::bigint[], $2::uuid[], $3::interval[], $4::bigint[], $5::boolean[], $6::boolean[],
            $7::boolean[], $8::text[], $9::uuid[], $10::text[])
     AS p (place, id, delay, attempts, suspect, worker_lost, in_turn, held_for, kept_by, last_error)
WHERE r.place = p.place AND r.id = p.id
