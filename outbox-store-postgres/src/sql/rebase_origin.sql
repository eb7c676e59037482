-- Records that the tables were checked on this server.
INSERT INTO outbox.outbox_origin (system_identifier, server_started, sequence_file)
SELECT c.system_identifier, pg_postmaster_start_time(), pg_relation_filenode(s.tableoid)
FROM pg_control_system() AS c, outbox.outbox_events_seq_seq AS s
ON CONFLICT (one) DO UPDATE
SET system_identifier = excluded.system_identifier,
    server_started = excluded.server_started,
    sequence_file = excluded.sequence_file
