-- S1, S2, S3, S11: as claim_events.sql, but during a backlog: the next events of one lane whose window is
-- being read, while no event and no dead letter could block them. It costs the server half as much, because
-- it neither searches for new events nor sums up bytes.
-- $1 token, $2 limit, $3 lease, $4 the most bytes of one event, $5 the lane that is tried first, $6 the lane
-- that the claim has already (NULL: none). A larger row is returned without its payload; neither it nor the
-- rows after it are taken. The lanes are tried in a circle until one can be leased, so most claims read the
-- state of one lane. The limit and the first lane are subqueries, so that the server keeps one plan: planning
-- for each value costs as much as running the statement.
WITH free AS MATERIALIZED (
    SELECT n.lane, n.epoch
    FROM generate_series(0, 15) AS distance
    CROSS JOIN LATERAL (
        SELECT * FROM outbox.outbox_lanes AS l
        WHERE outbox.outbox_indexed(l.lane) = ((SELECT $5::integer) + distance & 15)::smallint
        ORDER BY l.epoch DESC
        LIMIT 1
    ) AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch AND l.turn = n.turn
    WHERE n.token IS NULL AND n.window_end IS NOT NULL
      AND n.top <= (SELECT last_value FROM outbox.outbox_home)
      AND NOT (SELECT EXISTS (SELECT FROM outbox.outbox_retries)
                      OR EXISTS (SELECT FROM outbox.outbox_dead_letters WHERE holds))
      AND ($6::smallint IS NULL
           OR (SELECT token = $1 FROM outbox.outbox_lanes
               WHERE outbox.outbox_indexed(lane) = $6::smallint ORDER BY epoch DESC LIMIT 1))
    LIMIT 1
    FOR UPDATE OF l SKIP LOCKED
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1, leased_until = now() + $3, reads = $2, turn = pg_current_xact_id(),
        epoch = pg_current_xact_id()::text::bigint >> 8
    FROM free
    WHERE outbox.outbox_indexed(l.lane) = free.lane AND l.epoch >= free.epoch
      AND set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING l.lane, l.position, l.seen, pg_snapshot_xmax(l.seen) AS seen_xmax,
              l.window_end, pg_snapshot_xmin(l.window_end) AS end_xmin
)
SELECT t.lane, e.seq, e.id, e.event_type, CASE WHEN e.fits THEN e.payload END AS payload,
       e.content_type, CASE WHEN e.fits THEN e.headers END AS headers, e.ordering_key,
       e.idempotency_token, e.created_at, e.available_at,
       coalesce(e.available_at > now(), false) AS waits, e.fits
FROM taken AS t
LEFT JOIN LATERAL (
    SELECT *, octet_length(payload) + coalesce(octet_length(headers::text), 0) <= $4 AS fits
    FROM outbox.outbox_log AS e
    WHERE e.lane = t.lane AND e.seq > t.position
      AND (e.xid < t.end_xmin OR pg_visible_in_snapshot(e.xid, t.window_end))
      AND (e.xid >= t.seen_xmax OR NOT pg_visible_in_snapshot(e.xid, t.seen))
    ORDER BY e.seq
    LIMIT (SELECT $2::integer)
) AS e ON true
