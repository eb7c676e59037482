-- S4: ends a claim. $1 token; for each of its lanes $2 lane, $3 the last row of the log that it took
-- up (NULL: none), $4 whether the window ends with it; $5 whether the commit may be lost in a crash,
-- which only repeats a delivery. A lane that was taken over is left as it is: the caller compares
-- the number of rows. The lanes are locked in their order, so that no two callers wait for each other.
UPDATE outbox.outbox_lanes AS l
SET token = NULL, leased_until = NULL, reads = 0, held = NULL,
    turn = pg_current_xact_id(),
    seen = CASE WHEN c.ends THEN window_end ELSE seen END,
    window_end = CASE WHEN c.ends THEN NULL ELSE window_end END,
    position = coalesce(c.read_to, position)
FROM (
    SELECT c.*
    FROM unnest($2::smallint[], $3::bigint[], $4::boolean[]) AS c (lane, read_to, ends)
    JOIN outbox.outbox_lanes AS own USING (lane)
    WHERE own.token = $1
    ORDER BY lane
    FOR UPDATE OF own
) AS c
WHERE l.lane = c.lane
  AND ($5 IS FALSE OR set_config('synchronous_commit', 'off', true) IS NOT NULL)
