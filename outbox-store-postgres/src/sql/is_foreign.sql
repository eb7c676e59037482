-- Whether the tables came from another cluster, as in a restored dump: transaction numbers there are
-- others, and the snapshots mean nothing here. So it is if the sequence of the log was not brought
-- along. numbers: how many it gives to a session at a time.
SELECT o.system_identifier <> c.system_identifier
       OR s.last_value < (SELECT max(top) FROM outbox.outbox_lanes) AS is_foreign,
       (SELECT p.seqcache FROM pg_catalog.pg_sequence AS p WHERE p.seqrelid = s.tableoid) AS numbers
FROM outbox.outbox_origin AS o, pg_control_system() AS c, outbox.outbox_events_seq_seq AS s
