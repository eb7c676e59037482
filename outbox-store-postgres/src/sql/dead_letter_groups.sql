-- The $6 largest groups of dead letters that match the filter $1 to $5.
SELECT event_type, last_error, count(*) AS count, min(quarantined_at) AS oldest,
       max(quarantined_at) AS newest
FROM outbox.outbox_dead_letters
WHERE ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
GROUP BY event_type, last_error
ORDER BY count DESC, oldest, event_type, last_error
LIMIT $6
