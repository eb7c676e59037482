-- S1, S2, S3, S11: as claim_events.sql, for a backlog: the next events of one lane whose window is
-- being read. Without the search for new events it costs the server half as much.
-- $1 token, $2 limit, $3 lease, $4 bytes. A row that does not fit is given without its payload.
WITH free AS MATERIALIZED (
    SELECT lane
    FROM outbox.outbox_lanes AS l
    WHERE token IS NULL AND window_end IS NOT NULL
      AND turn = ANY (ARRAY(SELECT turn FROM outbox.outbox_lanes))
      AND l.top <= (SELECT last_value FROM outbox.outbox_home)
    ORDER BY turn
    LIMIT 1
    FOR UPDATE SKIP LOCKED
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1, leased_until = now() + $3, reads = $2, turn = pg_current_xact_id()
    FROM free
    WHERE l.lane = free.lane AND set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING l.lane, l.seen, l.window_end, l.position
)
SELECT t.lane, e.seq, e.id, e.event_type,
       CASE WHEN e.fits AND NOT w.waits THEN e.payload END AS payload, e.content_type,
       CASE WHEN e.fits AND NOT w.waits THEN e.headers END AS headers, e.ordering_key,
       e.idempotency_token, e.created_at, e.available_at, w.waits, e.fits, true AS ends,
       0::bigint AS found
FROM taken AS t
LEFT JOIN LATERAL (
    SELECT *,
           row_number() OVER in_order <= $2
           AND (row_number() OVER in_order = 1
                OR sum(octet_length(payload) + coalesce(octet_length(headers::text), 0))
                   OVER in_order <= $4) AS fits
    FROM (
        SELECT *
        FROM outbox.outbox_log AS e
        WHERE e.lane = t.lane AND e.seq > t.position
          AND pg_visible_in_snapshot(e.xid, t.window_end)
          AND NOT pg_visible_in_snapshot(e.xid, t.seen)
        ORDER BY e.seq
        LIMIT $2 + 1
    ) AS e
    WINDOW in_order AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)
) AS e ON true
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN e.available_at > now() THEN true
        WHEN e.ordering_key IS NULL
             OR NOT (SELECT EXISTS (SELECT FROM outbox.outbox_retries)
                            OR EXISTS (SELECT FROM outbox.outbox_dead_letters WHERE holds))
        THEN false
        ELSE coalesce((SELECT true FROM outbox.outbox_retries AS r
                       WHERE hashtextextended(r.ordering_key, 0) = hashtextextended(e.ordering_key, 0)
                         AND r.ordering_key = e.ordering_key
                       ORDER BY r.place LIMIT 1),
                      (SELECT true FROM outbox.outbox_dead_letters AS d
                       WHERE hashtextextended(d.ordering_key, 0) = hashtextextended(e.ordering_key, 0)
                         AND d.ordering_key = e.ordering_key AND d.holds
                       ORDER BY d.place LIMIT 1),
                      false)
    END AS waits
) AS w
