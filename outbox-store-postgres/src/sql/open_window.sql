-- S1, S2: starts the next window of one lane that has events to claim and is not being read, so that
-- claim_next.sql finds it. Of these lanes it takes the one that was used longest ago.
--
-- Atomic: as in claim_events.sql, the window ends with the rows that the statement's snapshot sees, a lane
-- that is locked or was changed after the snapshot is skipped, and sometimes the end of the log is marked.
WITH free AS MATERIALIZED (
    SELECT u.lane, u.epoch, u.begin, u.seen_xid, u.top
    FROM (SELECT lane, epoch, turn, begin, seen, seen_xid, top
          FROM outbox.outbox_unread
          WHERE token IS NULL AND window_end IS NULL
          ORDER BY turn) AS u
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = u.lane AND l.epoch >= u.epoch AND l.turn = u.turn
    WHERE u.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT true FROM outbox.outbox_log AS e
           WHERE e.lane = u.lane AND e.seq > u.begin AND NOT pg_visible_in_snapshot(e.xid, u.seen)
           ORDER BY e.seq LIMIT 1)
    LIMIT 1
    FOR UPDATE OF l SKIP LOCKED
),
marked AS (
    INSERT INTO outbox.outbox_marks (xid, seq)
    SELECT seen_xid, top
    FROM free
    WHERE top > coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                          ORDER BY m.xid DESC LIMIT 1), 0) + 256
    ON CONFLICT (xid) DO NOTHING
)
UPDATE outbox.outbox_lanes AS l
SET turn = pg_current_xact_id(),
    epoch = pg_current_xact_id()::text::bigint >> 8,
    window_end = pg_current_snapshot(),
    window_xid = pg_current_xact_id(),
    position = f.begin
FROM free AS f
WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
  AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING l.lane
