-- Moves the sequence past the existing rows, so that new rows come after them.
SELECT setval(s.tableoid::regclass, e.seq)
FROM outbox.outbox_events_seq_seq AS s, (SELECT max(seq) AS seq FROM outbox.outbox_events) AS e
WHERE e.seq > s.last_value
