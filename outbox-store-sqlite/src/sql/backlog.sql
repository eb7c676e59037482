-- What waits, in one snapshot. Rows are counted one by one up to ?2 of each kind (that is exact);
-- more than that in the outbox are estimated by the distance to the cursor.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox_events LIMIT ?2 + 1)),
       (SELECT coalesce(max(seq), 0) FROM outbox_events)
           - coalesce((SELECT position FROM outbox_cursor), 0),
       (SELECT count(*) FROM (SELECT 1 FROM outbox_events
                              WHERE seq <= (SELECT position FROM outbox_cursor) LIMIT ?2)),
       (SELECT created_at FROM outbox_events ORDER BY seq LIMIT 1),
       (SELECT coalesce(sum(length(events) / 24), 0) FROM outbox_claims WHERE leased_until > ?1),
       (SELECT count(*) FROM outbox_keys WHERE token IS NULL),
       (SELECT count(*) FROM outbox_dead_letters);
