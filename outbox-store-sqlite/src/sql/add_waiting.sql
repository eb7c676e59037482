-- S2: the event with the row number ?2 waits with its key ?1.
INSERT INTO outbox_waiting (key, seq) VALUES (?1, ?2) ON CONFLICT (key, seq) DO NOTHING;
