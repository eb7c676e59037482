-- The unconsumed events of the ids $1, under the locks of their lanes $2. An event in another lane came
-- after the locks were taken, and is left for the next call. place is set if the event waits in the
-- retries, seq if it is in the log. claimed: an open claim has it.
WITH lanes AS MATERIALIZED (
    SELECT * FROM outbox.outbox_newest
)
SELECT r.id, r.lane, r.place, NULL::bigint AS seq, r.ordering_key, r.attempts, r.replays,
       coalesce(r.place = ANY (l.held), false)
       OR r.kept_by IS NOT NULL AND coalesce(r.delayed_until > now(), false) AS claimed,
       (octet_length(r.payload) + coalesce(octet_length(r.headers::text), 0))::bigint AS bytes
FROM outbox.outbox_retries AS r
JOIN lanes AS l USING (lane)
WHERE r.id = ANY ($1) AND r.lane = ANY ($2)
UNION ALL
SELECT e.id, e.lane, NULL, e.seq, e.ordering_key, 0::bigint, e.replays,
       l.reads > 0 AND coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
       AND l.reads > (
           SELECT count(*) FROM (
               SELECT FROM outbox.outbox_log AS before
               WHERE before.lane = e.lane AND before.seq > l.position AND before.seq < e.seq
                 AND pg_visible_in_snapshot(before.xid, l.window_end)
                 AND NOT pg_visible_in_snapshot(before.xid, l.seen)
               LIMIT l.reads
           ) AS before),
       (octet_length(e.payload) + coalesce(octet_length(e.headers::text), 0))::bigint
FROM outbox.outbox_log AS e
JOIN lanes AS l USING (lane)
WHERE e.id = ANY ($1) AND e.lane = ANY ($2)
  AND NOT (pg_visible_in_snapshot(e.xid, l.seen)
           OR coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false) AND e.seq <= l.position)
ORDER BY place
