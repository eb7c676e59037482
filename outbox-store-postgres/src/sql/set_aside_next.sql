-- S12: as set_aside.sql, for rows of the next window, once only rows of the run are left in the window of
-- the lane. $1 token and $2 lane of the claim, $3 the last row of the window, $4 the keys of the run; $5 how
-- many rows are read, $6 how many are moved at most, $7 their bytes.
--
-- The search starts at the first row that the window did not see (as outbox_unread does for a new window),
-- in every call: a row that committed late may be anywhere after it. So all committed events of a key are
-- moved in their order.
WITH own AS MATERIALIZED (
    SELECT l.lane, l.window_end,
           CASE WHEN late.xid IS NULL THEN $3
                ELSE least($3, coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                                         WHERE m.xid <= late.xid ORDER BY m.xid DESC LIMIT 1), 0))
           END AS begin
    FROM outbox.outbox_lanes AS l
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT open FROM pg_snapshot_xip(l.window_end) AS open
                         WHERE pg_visible_in_snapshot(open, pg_current_snapshot())
                         ORDER BY open LIMIT 1),
                        CASE WHEN pg_snapshot_xmax(l.window_end) < l.window_xid
                             THEN pg_snapshot_xmax(l.window_end) END) AS xid
    ) AS late
    WHERE outbox.outbox_indexed(l.lane) = $2
      AND l.epoch >= (SELECT epoch FROM outbox.outbox_lanes
                      WHERE outbox.outbox_indexed(lane) = $2 ORDER BY epoch DESC LIMIT 1)
      AND l.token = $1
    FOR UPDATE OF l
),
others AS MATERIALIZED (
    SELECT *, row_number() OVER in_order AS number, sum(bytes) OVER in_order AS total
    FROM (
        SELECT e.*
        FROM own AS o
        CROSS JOIN LATERAL (
            SELECT seq, id, ordering_key, xid,
                   octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes
            FROM outbox.outbox_log AS e
            WHERE e.lane = o.lane AND e.seq > o.begin
            ORDER BY e.seq
            LIMIT $5
        ) AS e
        WHERE e.xid <> '0' AND NOT pg_visible_in_snapshot(e.xid, o.window_end)
          AND coalesce(e.ordering_key <> ALL ($4), true)
        ORDER BY e.seq
        LIMIT $6
    ) AS e
    WINDOW in_order AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)
),
moved AS (
    UPDATE outbox.outbox_events AS e
    SET xid = '0'
    FROM others AS o
    WHERE e.id = o.id AND e.seq = o.seq AND (o.total <= $7 OR o.number = 1)
    RETURNING e.*
),
parked AS (
    INSERT INTO outbox.outbox_retries
           (lane, due_at, id, event_type, payload, content_type, headers, ordering_key,
            idempotency_token, created_at, available_at, replays)
    SELECT $2, CASE WHEN ordering_key IS NULL THEN greatest(now(), available_at) END, id, event_type,
           payload, content_type, headers, ordering_key, idempotency_token, created_at,
           available_at, replays
    FROM moved
    ORDER BY seq
)
SELECT ARRAY(SELECT DISTINCT ordering_key FROM moved WHERE ordering_key IS NOT NULL) AS keys
