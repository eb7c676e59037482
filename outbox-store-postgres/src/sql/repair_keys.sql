-- Keys whose first waiting event has no time although no dead letter holds it: somebody deleted or
-- changed what was before it by hand. Looks at $2 keys, in the order of their hashes, from the key $1
-- (empty: from the first). Gives each of them with its lane, then the last key that was looked
-- at, with none. Of two keys with the same hash only one is looked at until it waits no more.
WITH RECURSIVE first AS (
    (SELECT hashtextextended(ordering_key, 0) AS hash, ordering_key, place, lane, due_at
     FROM outbox.outbox_retries
     WHERE ordering_key IS NOT NULL
       AND hashtextextended(ordering_key, 0)
           >= CASE WHEN $1 = '' THEN -9223372036854775808 ELSE hashtextextended($1, 0) END
     ORDER BY hashtextextended(ordering_key, 0), place
     LIMIT 1)
    UNION ALL
    SELECT n.*
    FROM first AS f
    CROSS JOIN LATERAL (
        SELECT hashtextextended(r.ordering_key, 0) AS hash, r.ordering_key, r.place, r.lane, r.due_at
        FROM outbox.outbox_retries AS r
        WHERE r.ordering_key IS NOT NULL AND hashtextextended(r.ordering_key, 0) > f.hash
        ORDER BY hashtextextended(r.ordering_key, 0), r.place
        LIMIT 1
    ) AS n
),
looked AS MATERIALIZED (
    SELECT * FROM first LIMIT $2
)
SELECT l.ordering_key, l.lane
FROM looked AS l
WHERE l.due_at IS NULL
  AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                  WHERE d.holds
                    AND hashtextextended(d.ordering_key, 0) = hashtextextended(l.ordering_key, 0)
                    AND d.ordering_key = l.ordering_key AND d.place < l.place)
UNION ALL
SELECT (array_agg(ordering_key ORDER BY hash DESC))[1], NULL FROM looked HAVING count(*) = $2
