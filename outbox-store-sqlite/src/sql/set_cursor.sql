-- S13: the cursor starts again at 0 if its row was deleted by hand. That is safe: every event that is
-- claimed or waits has a row in outbox_keys, and a claim skips it.
INSERT INTO outbox_cursor (one, position, turn) VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING;
