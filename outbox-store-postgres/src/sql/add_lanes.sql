-- Adds the missing lanes. They are read from the first row of the log.
INSERT INTO outbox.outbox_lanes (lane) SELECT generate_series(0, 15) ON CONFLICT (lane) DO NOTHING
