-- Up to ?2 dead letters behind the position ?1, oldest first, for a replay or a purge. If ?3 is 1, only
-- those that can be replayed: no event in the log has their id, and no other event has their token.
SELECT position, id, payload_size, CASE WHEN holds = 1 THEN ordering_key END
FROM outbox_dead_letters
WHERE position > ?1 /* and the filter */
  AND (?3 = 0 OR NOT (
      EXISTS (SELECT 1 FROM outbox_events e WHERE e.id = outbox_dead_letters.id)
      OR EXISTS (SELECT 1 FROM outbox_tokens t WHERE t.token = idempotency_token
                 AND t.event_id <> outbox_dead_letters.id)))
ORDER BY position LIMIT ?2;
