-- Locks lanes in their order, so that no two callers wait for each other, and gives them another
-- turn, so that no claim that looked at them before goes on. $1 lanes.
UPDATE outbox.outbox_lanes AS l
SET turn = pg_current_xact_id()
FROM (SELECT lane FROM outbox.outbox_lanes WHERE lane = ANY ($1) ORDER BY lane FOR UPDATE) AS o
WHERE l.lane = o.lane
