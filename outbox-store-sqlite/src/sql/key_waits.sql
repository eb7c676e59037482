-- Whether the key ?1 has an event that is claimed, or waits for a time: ?2 is the time of a held key.
SELECT EXISTS (SELECT 1 FROM outbox_keys WHERE key = ?1 AND (token IS NOT NULL OR due_at < ?2));
