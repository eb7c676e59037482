-- S12: moves events of other keys that come after a long run of few keys in their lane to the retries, where
-- the next claim finds them. $1 token and $2 lane of the claim, $3 its last row of the log, $4 the keys of
-- the run; $5 how far the window $6 was searched before, $7 whether to its end; $8 how many rows are read,
-- $9 how many are moved at most, $10 their bytes.
--
-- Only rows of the window are moved. All earlier events of their keys are in the window too, so the order
-- of each key is kept. Atomic: one statement under the lock of the lane, which the claim has, inserts a row
-- and marks it as consumed in the log: every snapshot sees the transaction 0.
WITH own AS MATERIALIZED (
    SELECT lane, seen, window_end, window_xid,
           CASE WHEN window_xid::text = $6 THEN greatest($5::bigint, $3) ELSE $3 END
               AS start
    FROM outbox.outbox_lanes
    WHERE outbox.outbox_indexed(lane) = $2
      AND epoch >= (SELECT epoch FROM outbox.outbox_lanes
                    WHERE outbox.outbox_indexed(lane) = $2 ORDER BY epoch DESC LIMIT 1)
      AND token = $1
    FOR UPDATE
),
page AS MATERIALIZED (
    SELECT e.*
    FROM own AS o
    CROSS JOIN LATERAL (
        SELECT seq, id, ordering_key,
               octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes
        FROM outbox.outbox_log AS e
        WHERE e.lane = o.lane AND e.seq > o.start
          AND pg_visible_in_snapshot(e.xid, o.window_end)
          AND NOT pg_visible_in_snapshot(e.xid, o.seen)
        ORDER BY e.seq
        LIMIT $8
    ) AS e
    WHERE NOT (o.window_xid::text = $6 AND $7)
),
others AS MATERIALIZED (
    SELECT *, row_number() OVER in_order AS number, sum(bytes) OVER in_order AS total
    FROM (SELECT * FROM page WHERE coalesce(ordering_key <> ALL ($4), true)
          ORDER BY seq LIMIT $9 + 1) AS p
    WINDOW in_order AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)
),
chosen AS MATERIALIZED (
    SELECT * FROM others WHERE number <= $9 AND (total <= $10 OR number = 1)
),
moved AS (
    UPDATE outbox.outbox_events AS e
    SET xid = '0'
    FROM chosen AS c
    WHERE e.id = c.id AND e.seq = c.seq
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
SELECT window_xid::text,
       CASE WHEN (SELECT count(*) FROM others) = (SELECT count(*) FROM chosen)
            THEN coalesce((SELECT max(seq) FROM page), start)
            ELSE (SELECT max(seq) FROM chosen) END AS looked_to,
       (SELECT count(*) FROM page) < $8
       AND (SELECT count(*) FROM others) = (SELECT count(*) FROM chosen) AS is_end,
       (SELECT count(*) FROM chosen) AS moved,
       ARRAY(SELECT DISTINCT ordering_key FROM chosen WHERE ordering_key IS NOT NULL) AS keys
FROM own
