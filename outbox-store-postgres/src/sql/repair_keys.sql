-- Keys whose first waiting event has no due time although no dead letter blocks it: an earlier event or a
-- dead letter was deleted or changed by hand. Checks $2 keys from the hash $1 on. Of two keys with the same
-- hash only the first is checked. Returns the hash, the key and the lane of each, and a last row without a
-- key if there are more: the hash after which the next check starts.
WITH RECURSIVE hashes AS (
    (SELECT hashtextextended(ordering_key, 0) AS hash FROM outbox.outbox_retries
     WHERE ordering_key IS NOT NULL AND hashtextextended(ordering_key, 0) >= $1
     ORDER BY hashtextextended(ordering_key, 0) LIMIT 1)
    UNION ALL
    SELECT (SELECT hashtextextended(r.ordering_key, 0) FROM outbox.outbox_retries AS r
            WHERE r.ordering_key IS NOT NULL AND hashtextextended(r.ordering_key, 0) > h.hash
            ORDER BY hashtextextended(r.ordering_key, 0) LIMIT 1)
    FROM hashes AS h
    WHERE h.hash IS NOT NULL
),
looked AS MATERIALIZED (
    SELECT hash FROM hashes WHERE hash IS NOT NULL LIMIT $2
)
SELECT l.hash, f.ordering_key, f.lane
FROM looked AS l
CROSS JOIN LATERAL (
    SELECT place, ordering_key, lane, due_at FROM outbox.outbox_retries AS r
    WHERE r.ordering_key IS NOT NULL AND hashtextextended(r.ordering_key, 0) = l.hash
    ORDER BY r.place LIMIT 1
) AS f
WHERE f.due_at IS NULL
  AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                  WHERE d.holds AND hashtextextended(d.ordering_key, 0) = l.hash
                    AND d.ordering_key = f.ordering_key AND d.place < f.place)
UNION ALL
SELECT max(hash), NULL, NULL FROM looked HAVING count(*) = $2
