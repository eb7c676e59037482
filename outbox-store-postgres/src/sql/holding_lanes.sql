-- The lanes of the letters that hold a key, among the first $6 that match the filter $1 to $5.
SELECT DISTINCT lane
FROM (SELECT lane, holds
      FROM outbox.outbox_dead_letters
      WHERE ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
      ORDER BY position
      LIMIT $6) AS chosen
WHERE holds
