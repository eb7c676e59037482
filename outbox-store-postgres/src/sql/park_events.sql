-- S5: moves events of the log that must wait to the retries, in their order. For each: $1 lane, $2 seq, $3
-- id, $4 delay (NULL: it is due once no earlier event of its key waits), $5 failed attempts. Runs in the
-- transaction that moves the cursor past them. A row that was deleted is skipped.
INSERT INTO outbox.outbox_retries
       (lane, due_at, delayed_until, attempts, id, event_type, payload, content_type, headers,
        ordering_key, idempotency_token, created_at, available_at, replays)
SELECT e.lane,
       CASE WHEN p.delay IS NOT NULL THEN now() + p.delay
            WHEN e.ordering_key IS NULL THEN greatest(now(), e.available_at) END,
       now() + p.delay, p.attempts, e.id, e.event_type, e.payload, e.content_type, e.headers,
       e.ordering_key, e.idempotency_token, e.created_at, e.available_at, e.replays
FROM unnest($1::smallint[], $2::bigint[], $3::uuid[], $4::interval[], $5::bigint[])
     AS p (lane, seq, id, delay, attempts)
JOIN outbox.outbox_log AS e ON e.lane = p.lane AND e.seq = p.seq AND e.id = p.id
ORDER BY e.seq
RETURNING place, id
