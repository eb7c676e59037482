-- S1, S2, S3: the next events of the log, of up to $4 lanes that no other claim holds.
-- $1 token, $2 limit for each lane, $3 lease, $4 lanes, $5 how many lanes the claim has already.
-- One event more than the limit tells that the window goes on behind them; a lane without an event
-- has none left in its window. waiting: some of these may have to wait behind others.
--
-- One statement, so one snapshot: a window that begins now ends with what is seen here, and begins
-- where the rows do that were not seen before (looked for in their order, so that the index is used
-- whatever the statistics say). Now and then that place is marked. A lane that another claim locks
-- is left to it. So is one that was changed after the snapshot was taken (its turn is then another),
-- as rows that its window includes might be missing here. A claim that has lost a lane meanwhile
-- takes no other: its token would stand again for what it had read before.
-- A claim that is lost in a crash repeats nothing and loses nothing, so its commit need not wait.
WITH free AS MATERIALIZED (
    SELECT lane, begin
    FROM outbox.outbox_unread AS l
    WHERE (token IS NULL OR token = $1) AND reads = 0
      AND turn = ANY (ARRAY(SELECT turn FROM outbox.outbox_lanes))
      AND l.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT count(*) FROM outbox.outbox_lanes WHERE token = $1) = $5
      AND (window_end IS NOT NULL
           OR (SELECT true FROM outbox.outbox_log AS e
               WHERE e.lane = l.lane AND e.seq > l.begin
                 AND NOT pg_visible_in_snapshot(e.xid, l.seen)
               ORDER BY e.seq LIMIT 1))
    ORDER BY turn
    LIMIT $4
    FOR UPDATE SKIP LOCKED
),
marked AS (
    INSERT INTO outbox.outbox_marks (xid, seq)
    SELECT l.seen_xid, l.top
    FROM outbox.outbox_lanes AS l JOIN free USING (lane)
    WHERE l.top > coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                            ORDER BY m.xid DESC LIMIT 1), 0) + 256
    ORDER BY l.top DESC
    LIMIT 1
    ON CONFLICT (xid) DO NOTHING
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1,
        leased_until = now() + $3,
        reads = $2,
        turn = pg_current_xact_id(),
        window_end = coalesce(window_end, pg_current_snapshot()),
        window_xid = coalesce(window_xid, pg_current_xact_id()),
        position = CASE WHEN window_end IS NULL THEN free.begin ELSE position END
    FROM free
    WHERE l.lane = free.lane AND set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING l.lane, l.seen, l.window_end, l.position
)
SELECT t.lane, e.seq, e.id, e.event_type, e.payload, e.content_type, e.headers, e.ordering_key,
       e.idempotency_token, e.created_at, e.available_at,
       coalesce(e.available_at > now(), false) AS delayed,
       (SELECT EXISTS (SELECT FROM outbox.outbox_retries)
               OR EXISTS (SELECT FROM outbox.outbox_dead_letters WHERE holds)) AS waiting
FROM taken AS t
LEFT JOIN LATERAL (
    SELECT *
    FROM outbox.outbox_log AS e
    WHERE e.lane = t.lane AND e.seq > t.position
      AND pg_visible_in_snapshot(e.xid, t.window_end)
      AND NOT pg_visible_in_snapshot(e.xid, t.seen)
    ORDER BY e.seq
    LIMIT $2 + 1
) AS e ON true
