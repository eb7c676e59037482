-- The first waiting event of each key of $1 becomes due at its time, unless a dead letter blocks the key:
-- then it has no due time until the dead letter is gone (S9). An event that has a due time keeps it. Runs
-- under the locks of the lanes of these keys.
WITH first AS MATERIALIZED (
    SELECT f.place, f.due_at,
           EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                   WHERE d.holds AND d.place < f.place AND d.ordering_key = k.key
                     AND hashtextextended(d.ordering_key, 0) = hashtextextended(k.key, 0)) AS is_held
    FROM unnest($1::text[]) AS k (key)
    CROSS JOIN LATERAL (
        SELECT place, due_at FROM outbox.outbox_retries
        WHERE hashtextextended(ordering_key, 0) = hashtextextended(k.key, 0)
          AND texteq(ordering_key, k.key)
        ORDER BY place
        LIMIT 1
    ) AS f
)
UPDATE outbox.outbox_retries AS r
SET due_at = CASE WHEN NOT f.is_held THEN greatest(now(), r.available_at, r.delayed_until) END
FROM first AS f
WHERE r.place = f.place AND f.is_held = (f.due_at IS NOT NULL)
