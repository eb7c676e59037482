-- The row number of the first event of the ordering key ?1 that the cursor (?2) has passed, and S9: of the
-- first dead letter that blocks the key. Each is NULL if there is none.
SELECT (SELECT seq FROM outbox_events WHERE ordering_key = ?1 AND seq <= ?2 ORDER BY seq LIMIT 1),
       (SELECT seq FROM outbox_dead_letters WHERE ordering_key = ?1 AND holds = 1
        ORDER BY seq LIMIT 1);
