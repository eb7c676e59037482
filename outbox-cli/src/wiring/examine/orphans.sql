-- Entries of the heap, up to 1,001, whose event does not wait for a retry. A relay forgets an entry soon after
-- its event has left.
SELECT count(*)
FROM (SELECT FROM outbox.outbox_dlq_heap AS h
      WHERE h.last_failed_at < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT FROM outbox.outbox_retries AS r WHERE r.id = h.event_id)
      LIMIT 1001) AS orphans
