-- S7: events that a lost claim had from the retries, $1 places. $2: they were alone in it.
UPDATE outbox.outbox_retries
SET suspect = true, worker_lost = worker_lost OR $2
WHERE place = ANY ($1)
