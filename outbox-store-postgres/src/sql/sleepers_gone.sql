-- Forgets workers that have not asked to be told for a day.
DELETE FROM outbox.outbox_sleepers WHERE until < now() - interval '1 day'
