-- S7, S22: shortens leases that end later than $1 from now: those of lanes, and those of kept events. That is
-- longer than any lease, so they were taken while the server's clock was ahead. They end after $2. A lane or
-- an event that is locked is skipped until the next call, so this waits for no other transaction. A kept event
-- that waits behind another of its key has no due time, and is found once it is the first. Returns how many
-- ended too late.
WITH far AS MATERIALIZED (
    SELECT n.lane, n.epoch
    FROM outbox.outbox_newest AS n
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch
    WHERE n.leased_until > now() + $1 AND l.leased_until > now() + $1
    FOR UPDATE OF l SKIP LOCKED
),
lanes AS (
    UPDATE outbox.outbox_lanes AS l
    SET leased_until = now() + $2
    FROM far AS f
    WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
    RETURNING l.lane
),
far_kept AS MATERIALIZED (
    SELECT r.place
    FROM outbox.outbox_retries AS r
    WHERE r.lane = ANY (ARRAY(SELECT lane FROM outbox.outbox_newest))
      AND r.suspect AND r.due_at > now() + $1
      AND r.kept_by IS NOT NULL AND r.delayed_until > now() + $1
    FOR UPDATE SKIP LOCKED
),
kept AS (
    UPDATE outbox.outbox_retries AS r
    SET due_at = greatest(now() + $2, r.available_at), delayed_until = now() + $2
    FROM far_kept AS f
    WHERE r.place = f.place
    RETURNING r.place
)
SELECT (SELECT count(*) FROM lanes) + (SELECT count(*) FROM kept)
