-- S5: events that waited before and must wait once more. For each $1 place, $2 the delay
-- (NULL: behind another of its key), $3 failed attempts, $4 whether one was charged
-- now: that also settles the loss of a worker (S7).
UPDATE outbox.outbox_retries AS r
SET due_at = now() + p.delay,
    attempts = p.attempts,
    suspect = suspect AND NOT p.charged,
    worker_lost = worker_lost AND NOT p.charged
FROM unnest($1::bigint[], $2::interval[], $3::bigint[], $4::boolean[])
     AS p (place, delay, attempts, charged)
WHERE r.place = p.place
