-- S4: ends a claim. $1 token; for each of its lanes: $2 lane, $3 the last row of the log that it read
-- (NULL: none), $4 whether the window ends with that row. $5: whether a crash of the server may lose the
-- commit, which then only repeats a delivery.
--
-- Atomic: either all lanes are changed or, if one was taken over, none; the caller counts the rows. The lanes
-- are locked in their order, so that no two callers deadlock.
WITH claimed AS MATERIALIZED (
    SELECT c.*, (SELECT epoch FROM outbox.outbox_lanes
                 WHERE outbox.outbox_indexed(lane) = c.lane ORDER BY epoch DESC LIMIT 1) AS epoch
    FROM unnest($2::smallint[], $3::bigint[], $4::boolean[]) AS c (lane, read_to, ends)
),
own AS MATERIALIZED (
    SELECT c.*
    FROM claimed AS c
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = c.lane AND l.epoch >= c.epoch
    WHERE l.token = $1
    ORDER BY c.lane
    FOR UPDATE OF l
)
UPDATE outbox.outbox_lanes AS l
SET token = NULL, leased_until = NULL, reads = 0, held = NULL,
    turn = pg_current_xact_id(),
    seen = CASE WHEN c.ends THEN window_end ELSE seen END,
    window_end = CASE WHEN c.ends THEN NULL ELSE window_end END,
    seen_xid = CASE WHEN c.ends THEN window_xid ELSE seen_xid END,
    window_xid = CASE WHEN c.ends THEN NULL ELSE window_xid END,
    top = CASE WHEN c.ends THEN greatest(top, c.read_to, position) ELSE top END,
    position = coalesce(c.read_to, position)
FROM own AS c
WHERE outbox.outbox_indexed(l.lane) = c.lane AND l.epoch >= c.epoch
  AND (SELECT count(*) FROM own) = cardinality($2)
  AND ($5 IS FALSE OR set_config('synchronous_commit', 'off', true) IS NOT NULL)
