-- S1, S2, S3, S11, S12: the next events of the log, of lanes that no other claim has.
-- $1 token, $2 limit, $3 lease, $4 the most lanes, $5 how many lanes the claim has already, $6 the bytes
-- that are left, $7 whether the first event may be larger, $8 the places of the events that the claim has
-- from the retries, $9 whether it may have more than half of the free lanes.
--
-- First comes the first row of each lane, then the second of each, and so on, so a lane with many rows
-- leaves room to the others. The rows are ranked by their numbers and sizes, and only the chosen ones are
-- read as a whole. The result is in the order of each lane. A row that must wait is returned without its
-- payload: it is delayed, or an earlier event or a dead letter blocks its key. found: how many rows were
-- ranked. ends: the window of the lane has no more rows. A lane without a row has none at all.
--
-- Atomic: one statement with one snapshot. A window that starts now ends with the rows that this snapshot
-- sees. It starts at the first row that the snapshot before it did not see; that row is searched in the
-- order of the log, so that the index is used with any statistics. Sometimes the end of the log is
-- marked. A lane that another claim locks is skipped. A lane that was changed after the snapshot is
-- skipped too (its turn is another), because rows of its window might be missing here. A claim that has
-- lost a lane takes no other: its token would be valid again for the events that it had read before.
-- The ends of the snapshots answer for most rows, and cost less than a search in the snapshots.
-- A claim that is lost in a crash of the server repeats nothing and loses nothing, so its commit need not
-- wait for the disk.
WITH lanes AS MATERIALIZED (
    SELECT * FROM outbox.outbox_unread
),
free AS MATERIALIZED (
    SELECT u.lane, u.epoch, u.seen, pg_snapshot_xmax(u.seen) AS seen_xmax,
           coalesce(u.window_end, pg_current_snapshot()) AS window_end,
           pg_snapshot_xmin(coalesce(u.window_end, pg_current_snapshot())) AS end_xmin,
           CASE WHEN u.window_end IS NULL THEN u.begin ELSE u.position END AS position
    FROM lanes AS u
    JOIN outbox.outbox_lanes AS l
      ON outbox.outbox_indexed(l.lane) = u.lane AND l.epoch >= u.epoch AND l.turn = u.turn
    WHERE (u.token IS NULL OR u.token = $1) AND u.reads = 0
      AND u.top <= (SELECT last_value FROM outbox.outbox_home)
      AND (SELECT count(*) FROM lanes WHERE token = $1) = $5
      AND (u.window_end IS NOT NULL
           OR (SELECT true FROM outbox.outbox_log AS e
               WHERE e.lane = u.lane AND e.seq > u.begin
                 AND NOT pg_visible_in_snapshot(e.xid, u.seen)
               ORDER BY e.seq LIMIT 1))
    ORDER BY u.turn
    LIMIT (SELECT CASE WHEN $9 THEN $4 ELSE least($4, greatest((count(*) + 1) / 2 - $5, 1)) END
           FROM lanes WHERE token IS NULL OR token = $1)
    FOR UPDATE OF l SKIP LOCKED
),
found AS MATERIALIZED (
    SELECT f.lane, e.*
    FROM free AS f
    CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY seq) AS number
        FROM (
            SELECT seq, octet_length(payload) + coalesce(octet_length(headers::text), 0) AS bytes
            FROM outbox.outbox_log AS e
            WHERE e.lane = f.lane AND e.seq > f.position
              AND (e.xid < f.end_xmin OR pg_visible_in_snapshot(e.xid, f.window_end))
              AND (e.xid >= f.seen_xmax OR NOT pg_visible_in_snapshot(e.xid, f.seen))
            ORDER BY e.seq
            LIMIT (SELECT $2::integer + 1)
        ) AS e
    ) AS e
),
ranked AS (
    SELECT *, row_number() OVER in_turns AS rank, sum(bytes) OVER in_turns AS total
    FROM found
    WINDOW in_turns AS (ORDER BY number, seq ROWS UNBOUNDED PRECEDING)
),
counted AS MATERIALIZED (
    SELECT lane, count(*) AS found,
           count(*) FILTER (WHERE rank <= $2 AND (total <= $6 OR rank = 1 AND $7)) AS chosen
    FROM ranked
    GROUP BY lane
),
taken AS (
    UPDATE outbox.outbox_lanes AS l
    SET token = $1,
        leased_until = now() + $3,
        reads = greatest(c.chosen, 1),
        turn = pg_current_xact_id(),
        epoch = pg_current_xact_id()::text::bigint >> 8,
        window_end = f.window_end,
        window_xid = coalesce(window_xid, pg_current_xact_id()),
        position = f.position
    FROM free AS f LEFT JOIN counted AS c USING (lane)
    WHERE outbox.outbox_indexed(l.lane) = f.lane AND l.epoch >= f.epoch
      AND coalesce(c.chosen > 0, true)
      AND set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING l.lane, f.position, f.seen, f.seen_xmax, f.window_end, f.end_xmin,
              coalesce(c.chosen, 0) AS chosen, coalesce(c.chosen = c.found, true) AS ends
),
marked AS (
    INSERT INTO outbox.outbox_marks (xid, seq)
    SELECT l.seen_xid, l.top
    FROM lanes AS l JOIN free USING (lane)
    WHERE l.top > coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                            ORDER BY m.xid DESC LIMIT 1), 0) + 256
    ORDER BY l.top DESC
    LIMIT 1
    ON CONFLICT (xid) DO NOTHING
)
SELECT t.lane, e.seq, e.id, e.event_type, CASE WHEN NOT w.waits THEN e.payload END AS payload,
       e.content_type, CASE WHEN NOT w.waits THEN e.headers END AS headers, e.ordering_key,
       e.idempotency_token, e.created_at, e.available_at, w.waits, t.ends,
       (SELECT coalesce(sum(found), 0)::bigint FROM counted) AS found
FROM taken AS t
LEFT JOIN LATERAL (
    SELECT *
    FROM outbox.outbox_log AS e
    WHERE e.lane = t.lane AND e.seq > t.position
      AND (e.xid < t.end_xmin OR pg_visible_in_snapshot(e.xid, t.window_end))
      AND (e.xid >= t.seen_xmax OR NOT pg_visible_in_snapshot(e.xid, t.seen))
    ORDER BY e.seq
    LIMIT t.chosen
) AS e ON true
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN e.available_at > now() THEN true
        WHEN e.ordering_key IS NULL
             OR NOT (SELECT EXISTS (SELECT FROM outbox.outbox_retries)
                            OR EXISTS (SELECT FROM outbox.outbox_dead_letters WHERE holds))
        THEN false
        ELSE coalesce((SELECT true FROM outbox.outbox_retries AS r
                       WHERE hashtextextended(r.ordering_key, 0) = hashtextextended(e.ordering_key, 0)
                         AND texteq(r.ordering_key, e.ordering_key) AND r.place <> ALL ($8)
                       ORDER BY r.place LIMIT 1),
                      (SELECT true FROM outbox.outbox_dead_letters AS d
                       WHERE hashtextextended(d.ordering_key, 0) = hashtextextended(e.ordering_key, 0)
                         AND d.ordering_key = e.ordering_key AND d.holds
                       ORDER BY d.place LIMIT 1),
                      false)
    END AS waits
) AS w
