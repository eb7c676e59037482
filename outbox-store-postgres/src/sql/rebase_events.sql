-- S1: the unconsumed rows of a restored log become fresh again, as if this transaction had appended them.
-- The snapshots that were restored with them show which rows are consumed. For rows that were appended on
-- this server they show nothing; such rows are newer than the primary key, which a restore creates after
-- the rows. Runs under the lock of all lanes.
WITH consumed AS (
    DELETE FROM outbox.outbox_events AS e
    USING outbox.outbox_lanes AS l, outbox.outbox_log AS place, pg_catalog.pg_constraint AS c
    WHERE place.id = e.id AND l.lane = place.lane
      AND c.conrelid = e.tableoid AND c.contype = 'p' AND age(e.xmin) >= age(c.xmin)
      AND (pg_visible_in_snapshot(e.xid, l.seen)
           OR coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
              AND e.seq <= l.position)
    RETURNING e.id
)
UPDATE outbox.outbox_events AS e
SET xid = pg_current_xact_id()
WHERE NOT EXISTS (SELECT FROM consumed AS c WHERE c.id = e.id)
