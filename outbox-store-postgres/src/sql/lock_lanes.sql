-- Locks the lanes $1 in their order, so that no two callers deadlock, and gives them another turn, so that a
-- claim whose snapshot is older skips them.
UPDATE outbox.outbox_lanes AS l
SET turn = pg_current_xact_id()
FROM (SELECT lane FROM outbox.outbox_lanes WHERE lane = ANY ($1) ORDER BY lane FOR UPDATE) AS o
WHERE l.lane = o.lane
