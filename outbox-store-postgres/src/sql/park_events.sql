-- S5, S22, S23: moves events of the log that must wait to the retries, in their order. For each: $1 lane, $2
-- seq, $3 id, $4 delay (NULL: it is due once no earlier event of its key waits), $5 failed attempts, $6 the
-- destination for which it is held, $7 the claim that keeps it, $8 whether it was alone in that claim, $9 the error of
-- its attempt. A kept event with a key may have an earlier event of its key here, so promote.sql gives it its
-- due time. Runs in
-- the transaction that moves the cursor past the rows. A row that was deleted is skipped.
INSERT INTO outbox.outbox_retries
       (lane, due_at, delayed_until, attempts, held_for, kept_by, suspect, worker_lost, id, event_type,
        payload, content_type, headers, ordering_key, idempotency_token, created_at, available_at,
        replays, last_error)
SELECT e.lane,
       CASE WHEN p.delay IS NOT NULL AND (p.kept_by IS NULL OR e.ordering_key IS NULL)
            THEN now() + p.delay
            WHEN e.ordering_key IS NULL THEN greatest(now(), e.available_at) END,
       now() + p.delay, p.attempts, p.held_for, p.kept_by, p.kept_by IS NOT NULL,
       p.kept_by IS NOT NULL AND p.alone, e.id, e.event_type, e.payload, e.content_type, e.headers,
       e.ordering_key, e.idempotency_token, e.created_at, e.available_at, e.replays,
       p.last_error
FROM unnest($1::smallint[], $2::bigint[], $3::uuid[], $4::interval[], $5::bigint[], $6::text[],
            $7::uuid[], $8::boolean[], $9::text[])
     AS p (lane, seq, id, delay, attempts, held_for, kept_by, alone, last_error)
JOIN outbox.outbox_log AS e ON e.lane = p.lane AND e.seq = p.seq AND e.id = p.id
ORDER BY e.seq
RETURNING place, id
