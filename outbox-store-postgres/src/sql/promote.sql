-- The first waiting event of each key of $1 becomes due, unless it waits for its own time already
-- or a letter holds it (S9). Under the locks of the lanes of these keys.
UPDATE outbox.outbox_retries AS r
SET due_at = greatest(now(), r.available_at)
WHERE r.due_at IS NULL
  AND r.place = ANY (ARRAY(
      SELECT (SELECT f.place FROM outbox.outbox_retries AS f
              WHERE hashtextextended(f.ordering_key, 0) = hashtextextended(k.key, 0) AND f.ordering_key = k.key ORDER BY f.place LIMIT 1)
      FROM unnest($1::text[]) AS k (key)))
  AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                  WHERE d.holds AND hashtextextended(d.ordering_key, 0) = hashtextextended(r.ordering_key, 0) AND d.ordering_key = r.ordering_key AND d.place < r.place)
