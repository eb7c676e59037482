-- S13: whether the key of an event behind ?1 and up to ?2 that the cursor has passed has no row. No claim
-- would find that event.
SELECT EXISTS (
    SELECT 1 FROM outbox_events e
    WHERE e.seq > ?1 AND e.seq <= ?2 AND e.seq <= (SELECT position FROM outbox_cursor)
      AND NOT EXISTS (SELECT 1 FROM outbox_keys k WHERE k.key = coalesce(e.ordering_key, e.id))
);
