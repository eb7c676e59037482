-- D4: deletes the first $6 letters that match the filter $1 to $5.
WITH gone AS (
    DELETE FROM outbox.outbox_dead_letters
    WHERE position IN (SELECT position
                       FROM outbox.outbox_dead_letters
                       WHERE ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
                       ORDER BY position
                       LIMIT $6
                       FOR UPDATE)
    RETURNING position, id, lane, CASE WHEN holds THEN ordering_key END AS held_key
)
SELECT id, lane, held_key FROM gone ORDER BY position
