-- Whether a claim may find something at ?1: a fresh event, a due key, or a claim whose lease has ended.
-- Reads only, so an idle worker never takes the write lock.
SELECT EXISTS (SELECT 1 FROM outbox_events
               WHERE seq > coalesce((SELECT position FROM outbox_cursor), 0))
    OR EXISTS (SELECT 1 FROM outbox_keys
               WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL AND due_at <= ?1)
    OR EXISTS (SELECT 1 FROM outbox_keys
               WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL AND due_at <= ?1)
    OR EXISTS (SELECT 1 FROM outbox_claims WHERE leased_until <= ?1);
