-- D4: deletes the first $6 dead letters that match the filter $1 to $5 of filter.sql, with at most $7 bytes
-- together, but at least one. Atomic: one statement.
WITH matching AS (
    SELECT position, payload
    FROM outbox.outbox_dead_letters
    WHERE true /* and the filter */
    ORDER BY position
    LIMIT $6
    FOR UPDATE
),
sized AS (
    SELECT position, row_number() OVER in_order AS number,
           sum(octet_length(payload)) OVER in_order AS total
    FROM matching
    WINDOW in_order AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
),
gone AS (
    DELETE FROM outbox.outbox_dead_letters
    WHERE position IN (SELECT position FROM sized WHERE total <= $7 OR number = 1)
    RETURNING position, id, (hashtextextended(ordering_key, 0) & 15)::smallint AS lane,
              CASE WHEN holds THEN ordering_key END AS held_key
)
SELECT id, coalesce(lane, 0::smallint), held_key FROM gone ORDER BY position
