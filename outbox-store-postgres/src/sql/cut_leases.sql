-- S7: leases that end later than $1 from now, which is longer than a lease is: they were taken while the
-- clock was wrong, and would keep their events for as long as it was. They end after $2. The lanes
-- are locked in their order, and one that is locked is left for the next time.
UPDATE outbox.outbox_lanes AS l
SET leased_until = now() + $2
FROM (SELECT lane FROM outbox.outbox_lanes
      WHERE leased_until > now() + $1 ORDER BY lane FOR UPDATE SKIP LOCKED) AS far
WHERE l.lane = far.lane
