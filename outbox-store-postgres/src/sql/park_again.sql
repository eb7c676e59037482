-- S5: events that waited before and must wait once more. For each $1 place and $2 id, $3 the delay
-- (NULL: behind another of its key), $4 failed attempts, $5 whether one was charged
-- now: that also settles the loss of a worker (S7). An event that is not there any more is left out.
UPDATE outbox.outbox_retries AS r
SET due_at = now() + p.delay,
    delayed_until = now() + p.delay,
    attempts = p.attempts,
    suspect = suspect AND NOT p.charged,
    worker_lost = worker_lost AND NOT p.charged
FROM unnest($1::bigint[], $2::uuid[], $3::interval[], $4::bigint[], $5::boolean[])
     AS p (place, id, delay, attempts, charged)
WHERE r.place = p.place AND r.id = p.id
