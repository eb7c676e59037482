-- S7, S11: leases fewer rows of a lane, because the claim took fewer. $1 token, $2 lane, $3 how many rows of
-- the log it took.
UPDATE outbox.outbox_lanes
SET reads = $3, turn = pg_current_xact_id()
WHERE outbox.outbox_indexed(lane) = $2
  AND epoch >= (SELECT epoch FROM outbox.outbox_lanes
                WHERE outbox.outbox_indexed(lane) = $2 ORDER BY epoch DESC LIMIT 1)
  AND token = $1
