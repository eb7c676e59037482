-- The worker $1 wants to be told of new events for the time $2.
INSERT INTO outbox.outbox_sleepers AS s (worker, until)
VALUES ($1, now() + $2)
ON CONFLICT (worker) DO UPDATE SET until = excluded.until
