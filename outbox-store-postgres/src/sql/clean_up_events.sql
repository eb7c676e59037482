-- Deletes consumed rows of the log, at most $1 in each lane, in the order of their transactions: those
-- after $2 and $3, a transaction and a seq for each lane. Gives how far it went, and the oldest
-- transaction that may yet bring rows of the lane.
--
-- What a window has that is being read stays until its end, so no call looks through what is unread.
-- A replay that makes a row fresh again also gives it another seq, so it is not deleted by one that
-- saw it consumed.
WITH old AS MATERIALIZED (
    SELECT e.*
    FROM outbox.outbox_lanes AS l
    JOIN unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS a (xid, seq, place)
      ON a.place = l.lane + 1
    CROSS JOIN LATERAL (
        SELECT e.lane, e.xid, e.seq
        FROM outbox.outbox_events AS e
        WHERE e.lane = l.lane AND (e.xid, e.seq) > (a.xid::text::xid8, a.seq)
          AND e.xid < pg_snapshot_xmax(l.seen) AND pg_visible_in_snapshot(e.xid, l.seen)
        ORDER BY e.xid, e.seq
        LIMIT $1
    ) AS e
),
gone AS (
    DELETE FROM outbox.outbox_events AS e USING old
    WHERE e.lane = old.lane AND e.seq = old.seq
    RETURNING e.lane, e.seq, e.xid::text::bigint AS xid
)
SELECT l.lane, count(g.lane) AS count, max(g.xid) AS xid,
       (array_agg(g.seq ORDER BY g.xid DESC, g.seq DESC))[1] AS seq,
       pg_snapshot_xmin(l.seen)::text::bigint AS open
FROM outbox.outbox_lanes AS l
LEFT JOIN gone AS g USING (lane)
GROUP BY l.lane
