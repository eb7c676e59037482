-- S7: a claim had looked further into lanes than it took events. $1 token; for each lane $2 lane, $3
-- how many it took from the log. One of which it has nothing is given back. The lanes are locked in
-- their order, so that no two callers wait for each other.
UPDATE outbox.outbox_lanes AS l
SET reads = c.reads,
    token = CASE WHEN c.keeps THEN token END,
    leased_until = CASE WHEN c.keeps THEN leased_until END,
    turn = pg_current_xact_id()
FROM (
    SELECT c.*, c.reads > 0 OR own.held IS NOT NULL AS keeps
    FROM unnest($2::smallint[], $3::integer[]) AS c (lane, reads)
    JOIN outbox.outbox_lanes AS own USING (lane)
    WHERE own.token = $1
    ORDER BY lane
    FOR UPDATE OF own
) AS c
WHERE l.lane = c.lane
