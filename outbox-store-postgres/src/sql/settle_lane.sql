-- S4: as settle_lanes.sql, for a claim of one lane of which all events were published. $1 token, $2 lane,
-- $3 the last row that was read, $4 whether the window ends with it.
UPDATE outbox.outbox_lanes
SET token = NULL, leased_until = NULL, reads = 0, held = NULL, turn = pg_current_xact_id(),
    seen = CASE WHEN $4 THEN window_end ELSE seen END,
    window_end = CASE WHEN $4 THEN NULL ELSE window_end END,
    seen_xid = CASE WHEN $4 THEN window_xid ELSE seen_xid END,
    window_xid = CASE WHEN $4 THEN NULL ELSE window_xid END,
    top = CASE WHEN $4 THEN greatest(top, $3, position) ELSE top END,
    position = coalesce($3, position)
WHERE outbox.outbox_indexed(lane) = $2
  AND epoch >= (SELECT epoch FROM outbox.outbox_lanes
                WHERE outbox.outbox_indexed(lane) = $2 ORDER BY epoch DESC LIMIT 1)
  AND token = $1
  AND set_config('synchronous_commit', 'off', true) IS NOT NULL
