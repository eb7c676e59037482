-- S7: the events at the places $1 were in a lost claim. $2: one event was alone in it.
UPDATE outbox.outbox_retries
SET suspect = true, worker_lost = worker_lost OR $2, held_for = NULL
WHERE place = ANY ($1)
