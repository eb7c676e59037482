-- The filter of dead letters, $1 to $5: ids, event type, ordering key, a part of the error, and a time after
-- their quarantine. A condition whose value is NULL matches every dead letter.
  AND ($1::uuid[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR event_type = $2)
  AND ($3::text IS NULL OR ordering_key = $3)
  AND ($4::text IS NULL OR position($4 IN last_error) > 0)
  AND ($5::timestamptz IS NULL OR quarantined_at < $5)
