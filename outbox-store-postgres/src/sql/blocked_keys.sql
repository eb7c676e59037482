-- R6: up to $1 keys that a dead letter blocks, with the first dead letter of each, the longest blocked first.
SELECT ordering_key, id, quarantined_at, last_error
FROM (
    SELECT DISTINCT ON (ordering_key) ordering_key, id, quarantined_at, last_error
    FROM outbox.outbox_dead_letters
    WHERE holds AND ordering_key IS NOT NULL
    ORDER BY ordering_key, place
) AS d
ORDER BY quarantined_at, id
LIMIT $1
