-- Whether the tables changed since they were checked last. at_home: they did not, and all lanes are there.
-- is_foreign: they come from another cluster, as in a restored dump, where transaction ids and snapshots
-- of the old cluster mean nothing; or the sequence was set back or restarted; or no check is recorded.
-- lanes: how many there are. cache: how many numbers a session takes from the sequence at a time.
-- reads_only: the server is a standby.
SELECT (SELECT count(*) = 16 FROM outbox.outbox_newest, outbox.outbox_home
        WHERE top <= last_value) AS at_home,
       NOT EXISTS (SELECT FROM outbox.outbox_origin AS o, pg_control_system() AS c
                   WHERE o.system_identifier = c.system_identifier
                     AND o.sequence_file = pg_relation_filenode(s.tableoid))
       OR s.last_value < (SELECT coalesce(max(top), 0) FROM outbox.outbox_newest) AS is_foreign,
       (SELECT count(*) FROM outbox.outbox_newest) AS lanes,
       (SELECT p.seqcache FROM pg_catalog.pg_sequence AS p WHERE p.seqrelid = s.tableoid) AS cache,
       current_setting('transaction_read_only')::boolean AS reads_only
FROM outbox.outbox_events_seq_seq AS s
