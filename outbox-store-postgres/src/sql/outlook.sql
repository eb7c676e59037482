-- What a claim may find now; after how many microseconds the next event may become due or the next lease
-- may end (a day at most); the oldest open transaction; whether the answer is valid: this is the server
-- that was checked (see outbox_home), and all lanes are there; and whether outbox_retries is larger than
-- 32 pages.
SELECT EXISTS (
           SELECT FROM outbox.outbox_unread AS l
           WHERE token IS NULL
             AND (window_end IS NOT NULL
                  OR (SELECT true FROM outbox.outbox_log AS e
                      WHERE e.lane = l.lane AND e.seq > l.begin
                        AND NOT pg_visible_in_snapshot(e.xid, l.seen)
                      ORDER BY e.seq LIMIT 1))
       ) AS events,
       coalesce(min(n.due_at) FILTER (WHERE NOT n.suspect) <= now(), false) AS retries,
       coalesce(min(n.due_at) FILTER (WHERE n.suspect) <= now(), false) AS suspects,
       coalesce(min(n.leased_until) <= now(), false) AS lost,
       ceil(1000000 * extract(epoch FROM
           greatest(now(), least(min(n.due_at), min(n.leased_until), now() + '1 day')) - now()
       ))::bigint AS next_in,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_open,
       (SELECT count(*) = 16 FROM outbox.outbox_newest, outbox.outbox_home
        WHERE top <= last_value) AS at_home,
       (SELECT pg_relation_size(typrelid) > 262144 FROM pg_type
        WHERE oid = pg_typeof(NULL::outbox.outbox_retries)::oid) AS many_retries
FROM (
    SELECT NULL::timestamptz AS leased_until, r.due_at, r.suspect
    FROM outbox.outbox_newest AS l
    CROSS JOIN LATERAL (
        (SELECT due_at, suspect FROM outbox.outbox_retries AS r
         WHERE r.lane = l.lane AND due_at IS NOT NULL AND NOT suspect ORDER BY due_at LIMIT 1)
        UNION ALL
        (SELECT due_at, suspect FROM outbox.outbox_retries AS r
         WHERE r.lane = l.lane AND due_at IS NOT NULL AND suspect ORDER BY due_at LIMIT 1)
    ) AS r
    WHERE l.token IS NULL
    UNION ALL
    SELECT leased_until, NULL, NULL FROM outbox.outbox_newest WHERE token IS NOT NULL
) AS n
