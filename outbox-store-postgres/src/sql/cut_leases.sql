-- S7: shortens leases that end later than $1 from now. That is longer than any lease, so they were taken
-- while the server's clock was ahead. They end after $2. The lanes are locked in their order, and a locked
-- lane is skipped until the next call.
UPDATE outbox.outbox_lanes AS l
SET leased_until = now() + $2
FROM (SELECT lane FROM outbox.outbox_lanes
      WHERE leased_until > now() + $1 ORDER BY lane FOR UPDATE SKIP LOCKED) AS far
WHERE l.lane = far.lane
