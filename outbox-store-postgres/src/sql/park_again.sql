-- S5: events of the retries that must wait once more. For each: $1 place, $2 id, $3 delay (NULL: it waits
-- for an earlier event of its key), $4 failed attempts, $5 whether an attempt was counted now. A counted
-- attempt also ends the suspicion after a lost claim (S7). An event that was deleted is skipped.
UPDATE outbox.outbox_retries AS r
SET due_at = now() + p.delay,
    delayed_until = now() + p.delay,
    attempts = p.attempts,
    suspect = suspect AND NOT p.charged,
    worker_lost = worker_lost AND NOT p.charged
FROM unnest($1::bigint[], $2::uuid[], $3::interval[], $4::bigint[], $5::boolean[])
     AS p (place, id, delay, attempts, charged)
WHERE r.place = p.place AND r.id = p.id
