-- The row number of the first waiting event of the key ?1 that the cursor (?2) has passed, and S9: of the
-- first dead letter that blocks the key. Each is NULL if there is none.
SELECT (SELECT w.seq FROM outbox_waiting w CROSS JOIN outbox_events e ON e.seq = w.seq
        WHERE w.key = ?1 AND w.seq <= ?2 AND coalesce(e.ordering_key, e.id) = w.key
        ORDER BY w.seq LIMIT 1),
       (SELECT seq FROM outbox_dead_letters WHERE ordering_key = ?1 AND holds = 1
        ORDER BY seq LIMIT 1);
