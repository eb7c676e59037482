-- S13: the cursor begins again at 0 if somebody deleted its row. That is safe: what is claimed or
-- waits has a row in outbox_keys, and all else is there to be taken up.
INSERT INTO outbox_cursor (one, position, turn) VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING;
