-- D4: deletes the first $6 dead letters that match the filter $1 to $5, as many as have $7 bytes
-- together, but at least one.
WITH matching AS (
    SELECT position, payload
    FROM outbox.outbox_dead_letters
    WHERE ($1::uuid[] IS NULL OR id = ANY ($1))
      AND ($2::text IS NULL OR event_type = $2)
      AND ($3::text IS NULL OR ordering_key = $3)
      AND ($4::text IS NULL OR position($4 IN last_error) > 0)
      AND ($5::timestamptz IS NULL OR quarantined_at < $5)
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
