-- Deletes published events from the retries. $1 places, $2 their ids: a place that belongs to another event
-- now is skipped.
DELETE FROM outbox.outbox_retries AS r
USING unnest($1::bigint[], $2::uuid[]) AS p (place, id)
WHERE r.place = p.place AND r.id = p.id
