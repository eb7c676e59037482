-- S18: the events that wait, in one snapshot. $1: how many rows of the log are counted at most, of which the
-- last only shows that there are more.
WITH lanes AS MATERIALIZED (
    SELECT * FROM outbox.outbox_unread
),
counted AS (
    SELECT count(*) AS count
    FROM (
        SELECT FROM lanes AS l
        CROSS JOIN LATERAL (
            SELECT FROM outbox.outbox_log AS e
            WHERE e.lane = l.lane AND e.seq > l.begin
              AND NOT pg_visible_in_snapshot(e.xid, l.seen)
              AND NOT (coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                       AND e.seq <= l.position)
            ORDER BY e.seq
            LIMIT (SELECT $1::bigint)
        ) AS e
        LIMIT $1
    ) AS e
),
firsts AS (
    SELECT min(e.created_at) AS oldest
    FROM lanes AS l
    CROSS JOIN LATERAL (
        SELECT e.created_at
        FROM outbox.outbox_log AS e
        WHERE e.lane = l.lane AND e.seq > l.begin
          AND NOT pg_visible_in_snapshot(e.xid, l.seen)
          AND NOT (coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                   AND e.seq <= l.position)
        ORDER BY e.seq
        LIMIT 1
    ) AS e
),
-- An event of a key that waits counts until a claim has moved it to the retries.
fresh AS (
    SELECT min(greatest(e.created_at, e.available_at)) AS due
    FROM lanes AS l
    CROSS JOIN LATERAL (
        SELECT e.created_at, e.available_at
        FROM (
            SELECT e.created_at, e.available_at
            FROM outbox.outbox_log AS e
            WHERE e.lane = l.lane AND e.seq > l.begin
              AND NOT pg_visible_in_snapshot(e.xid, l.seen)
              AND NOT (coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                       AND e.seq <= l.position)
            ORDER BY e.seq
            LIMIT 1000
        ) AS e
        WHERE coalesce(e.available_at <= now(), true)
        LIMIT 1
    ) AS e
),
claimed AS (
    SELECT sum((SELECT count(*)
                FROM (SELECT FROM outbox.outbox_log AS e
                      WHERE e.lane = l.lane AND e.seq > l.position
                        AND pg_visible_in_snapshot(e.xid, l.window_end)
                        AND NOT pg_visible_in_snapshot(e.xid, l.seen)
                      ORDER BY e.seq
                      LIMIT l.reads) AS e)
               + coalesce(cardinality(l.held), 0)) AS count,
           sum((SELECT count(*) FROM outbox.outbox_retries AS r
                WHERE r.place = ANY (l.held) AND r.due_at IS NOT NULL)) AS due
    FROM lanes AS l
    WHERE l.token IS NOT NULL
)
SELECT (least(e.count, $1 - 1) + r.count)::bigint AS pending,
       least(f.oldest, r.oldest) AS oldest_pending,
       (coalesce(c.count, 0) + r.kept)::bigint AS in_flight,
       (r.due - r.due_kept - coalesce(c.due, 0)
        + (SELECT count(DISTINCT ordering_key) FROM outbox.outbox_dead_letters WHERE holds)
       )::bigint AS waiting,
       (SELECT count(*) FROM outbox.outbox_dead_letters)::bigint AS dead_letters,
       e.count = $1 AS pending_is_capped,
       CASE WHEN isfinite(least(n.due, r.oldest_due))
            THEN floor(1000000 * extract(epoch FROM now() - least(n.due, r.oldest_due)))::bigint
       END AS oldest_due,
       (SELECT CASE WHEN isfinite(quarantined_at)
                    THEN floor(1000000 * extract(epoch FROM now() - quarantined_at))::bigint END
        FROM outbox.outbox_dead_letters ORDER BY position LIMIT 1) AS oldest_dead_letter
FROM counted AS e
CROSS JOIN firsts AS f
CROSS JOIN fresh AS n
CROSS JOIN claimed AS c
CROSS JOIN (
    SELECT count(*) AS count, min(created_at) AS oldest, count(due_at) AS due,
           count(kept_by) AS kept, count(due_at) FILTER (WHERE kept_by IS NOT NULL) AS due_kept,
           -- A row that was changed by hand may have an infinite time.
           min(CASE
               WHEN attempts = 0 OR held_for IS NOT NULL OR kept_by IS NOT NULL
               THEN CASE WHEN coalesce(available_at <= now(), true)
                         THEN greatest(created_at, available_at) END
               WHEN due_at <= now() THEN due_at
               END) FILTER (WHERE due_at IS NOT NULL) AS oldest_due
    FROM outbox.outbox_retries
) AS r
