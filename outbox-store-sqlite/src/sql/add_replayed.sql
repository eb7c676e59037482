-- S9, D2: an event that is replayed ahead of those that wait for it waits, too. ?1 is the position of its
-- dead letter.
INSERT INTO outbox_waiting (key, seq)
SELECT ordering_key, seq FROM outbox_dead_letters WHERE position = ?1 AND holds = 1
ON CONFLICT (key, seq) DO NOTHING;
