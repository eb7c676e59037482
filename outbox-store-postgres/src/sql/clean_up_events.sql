-- Deletes consumed rows of the log. Checks up to $1 rows of each lane after $2, a seq for each lane, in their
-- order. Of these it takes the $3 oldest, with at most $4 bytes together, but at least one row. Returns for
-- each lane how many were deleted, how far it checked, the oldest transaction that may still add rows, and
-- the seq from which its rows may come.
--
-- On a server that was not checked nothing is deleted, because outbox_home is empty there. The rows of a
-- window that is being read stay until its end, so no call reads through unread rows. A replay that makes a
-- row fresh again gives it another seq, so a clean-up that saw the consumed row does not delete it.
WITH looked AS (
    SELECT e.*
    FROM outbox.outbox_newest AS l
    JOIN outbox.outbox_home AS h ON l.top <= h.last_value
    JOIN unnest($2::bigint[]) WITH ORDINALITY AS a (seq, place) ON a.place = l.lane + 1
    CROSS JOIN LATERAL (
        SELECT e.lane, e.seq, pg_visible_in_snapshot(e.xid, l.seen) AS consumed,
               octet_length(e.payload) AS bytes
        FROM outbox.outbox_log AS e
        WHERE e.lane = l.lane AND e.seq > a.seq AND e.seq <= l.top
        ORDER BY e.seq
        LIMIT $1
    ) AS e
    ORDER BY e.seq
    LIMIT $3
),
old AS MATERIALIZED (
    SELECT lane, seq, consumed
    FROM (SELECT *, row_number() OVER in_order AS number, sum(bytes) OVER in_order AS total
          FROM looked
          WINDOW in_order AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) AS l
    WHERE total <= $4 OR number = 1
),
gone AS (
    DELETE FROM outbox.outbox_log AS e USING old
    WHERE e.lane = old.lane AND e.seq = old.seq AND old.consumed
    RETURNING e.lane
)
SELECT l.lane,
       (SELECT count(*) FROM gone AS g WHERE g.lane = l.lane) AS count,
       (SELECT max(o.seq) FROM old AS o WHERE o.lane = l.lane) AS seq,
       pg_snapshot_xmin(l.seen)::text::bigint AS open,
       coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                 WHERE m.xid <= pg_snapshot_xmin(l.seen) ORDER BY m.xid DESC LIMIT 1), 0) AS begin
FROM outbox.outbox_newest AS l
