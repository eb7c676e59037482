-- Locks the lanes $1 in their order, so that no two callers deadlock, and gives them another turn, so that a
-- claim whose snapshot is older skips them.
WITH own AS MATERIALIZED (
    SELECT n.lane, n.epoch
    FROM outbox.outbox_newest AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch
    WHERE n.lane = ANY ($1)
    ORDER BY n.lane
    FOR UPDATE OF l
)
UPDATE outbox.outbox_lanes AS l
SET turn = pg_current_xact_id()
FROM own AS o
WHERE outbox.outbox_indexed(l.lane) = o.lane AND l.epoch >= o.epoch
