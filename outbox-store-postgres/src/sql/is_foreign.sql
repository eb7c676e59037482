-- Whether the tables became others since they were checked. at_home: they did not, and all lanes are
-- there. is_foreign: they came from another cluster, as in a restored dump, where transaction numbers
-- are others and the snapshots mean nothing here; or the sequence was set back or restarted; or
-- nothing says where they were checked. lanes: how many there are. numbers: how many the
-- sequence gives to a session at a time. reads_only: as on a standby.
SELECT (SELECT count(*) = 16 FROM outbox.outbox_lanes, outbox.outbox_home
        WHERE top <= last_value) AS at_home,
       NOT EXISTS (SELECT FROM outbox.outbox_origin AS o, pg_control_system() AS c
                   WHERE o.system_identifier = c.system_identifier
                     AND o.sequence_file = pg_relation_filenode(s.tableoid))
       OR s.last_value < (SELECT coalesce(max(top), 0) FROM outbox.outbox_lanes) AS is_foreign,
       (SELECT count(*) FROM outbox.outbox_lanes) AS lanes,
       (SELECT p.seqcache FROM pg_catalog.pg_sequence AS p WHERE p.seqrelid = s.tableoid) AS numbers,
       current_setting('transaction_read_only')::boolean AS reads_only
FROM outbox.outbox_events_seq_seq AS s
