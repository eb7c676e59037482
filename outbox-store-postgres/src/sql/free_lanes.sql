-- Gives back lanes of a claim of which it took no event. $1 token, $2 lanes.
UPDATE outbox.outbox_lanes
SET token = NULL, leased_until = NULL, reads = 0, turn = pg_current_xact_id()
WHERE lane = ANY ($2) AND token = $1 AND held IS NULL
