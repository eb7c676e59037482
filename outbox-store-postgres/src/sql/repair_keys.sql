-- Keys whose first waiting event has no time although no dead letter holds it: somebody deleted or
-- changed what was before it by hand. Looks at $2 keys from the key $1. Gives each of them with its
-- lane, then the last key that was looked at, with none.
WITH RECURSIVE keys AS (
    (SELECT ordering_key FROM outbox.outbox_retries
     WHERE ordering_key >= $1 ORDER BY ordering_key LIMIT 1)
    UNION ALL
    SELECT (SELECT r.ordering_key FROM outbox.outbox_retries AS r
            WHERE r.ordering_key > k.ordering_key ORDER BY r.ordering_key LIMIT 1)
    FROM keys AS k
    WHERE k.ordering_key IS NOT NULL
),
looked AS MATERIALIZED (
    SELECT ordering_key FROM keys WHERE ordering_key IS NOT NULL LIMIT $2
)
SELECT l.ordering_key, f.lane
FROM looked AS l
CROSS JOIN LATERAL (
    SELECT place, lane, due_at FROM outbox.outbox_retries AS r
    WHERE r.ordering_key = l.ordering_key ORDER BY r.place LIMIT 1
) AS f
WHERE f.due_at IS NULL
  AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                  WHERE d.holds AND d.ordering_key = l.ordering_key AND d.place < f.place)
UNION ALL
SELECT max(ordering_key), NULL FROM looked HAVING count(*) = $2
