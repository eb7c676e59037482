-- S7, S11: a claim had leased more rows of a lane than it takes. $1 token, $2 lane, $3 how many it
-- takes from the log.
UPDATE outbox.outbox_lanes
SET reads = $3, turn = pg_current_xact_id()
WHERE lane = $2 AND token = $1
