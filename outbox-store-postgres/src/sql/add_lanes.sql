-- Adds the missing lanes, under the lock of the table. They are read from the first row of the log.
INSERT INTO outbox.outbox_lanes (lane)
SELECT n FROM generate_series(0, 15) AS n
WHERE n NOT IN (SELECT lane FROM outbox.outbox_newest)
