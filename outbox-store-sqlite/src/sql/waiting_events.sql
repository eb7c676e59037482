-- R5: up to ?1 events that wait, the oldest first, of pages of 1,000: the oldest events, the fresh events,
-- the events that are held, and the keys whose wait ends first. Of each key the first event of a page. An event
-- beyond the cursor, whose key has no row, is fresh.
WITH pages (seq) AS (
    SELECT seq FROM (SELECT seq FROM outbox_events ORDER BY seq LIMIT 1000)
    UNION
    SELECT seq FROM (SELECT seq FROM outbox_events
                     WHERE seq > coalesce((SELECT position FROM outbox_cursor), 0)
                     ORDER BY seq LIMIT 1000)
    UNION
    SELECT seq FROM (SELECT last_seq AS seq FROM outbox_keys
                     WHERE token IS NULL AND destination IS NOT NULL LIMIT 1000)
    UNION
    SELECT seq FROM (SELECT last_seq AS seq FROM outbox_keys
                     WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL
                     ORDER BY due_at LIMIT 1000)
    UNION
    SELECT seq FROM (SELECT last_seq AS seq FROM outbox_keys
                     WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL
                     ORDER BY due_at LIMIT 1000)
)
SELECT min(e.seq), e.id, e.event_type, e.ordering_key, e.created_at,
       coalesce(k.due_at, e.available_at, e.created_at), coalesce(k.attempts, 0),
       CASE WHEN k.attempts > 0 THEN k.last_error END,
       k.destination
FROM pages p
JOIN outbox_events e ON e.seq = p.seq
LEFT JOIN outbox_keys k ON k.key = coalesce(e.ordering_key, e.id)
WHERE CASE WHEN k.key IS NULL THEN e.seq > coalesce((SELECT position FROM outbox_cursor), 0)
           ELSE k.token IS NULL AND k.held = 0 END
GROUP BY coalesce(e.ordering_key, e.id)
ORDER BY e.created_at, e.id
LIMIT ?1;
