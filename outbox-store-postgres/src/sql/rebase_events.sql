-- S1: the rows of a restored log that were not consumed begin anew, as if they had been appended by
-- this transaction; which were, the snapshots tell that were restored with them. Under the lock of
-- all lanes.
WITH consumed AS (
    DELETE FROM outbox.outbox_events AS e
    USING outbox.outbox_lanes AS l
    WHERE l.lane = e.lane
      AND (pg_visible_in_snapshot(e.xid, l.seen)
           OR coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
              AND e.seq <= l.position)
    RETURNING e.id
)
UPDATE outbox.outbox_events AS e
SET xid = pg_current_xact_id()
WHERE NOT EXISTS (SELECT FROM consumed AS c WHERE c.id = e.id)
