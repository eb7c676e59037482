-- The lanes of the events of the ids $1.
SELECT lane FROM outbox.outbox_retries WHERE id = ANY ($1)
UNION
SELECT lane FROM outbox.outbox_log WHERE id = ANY ($1)
