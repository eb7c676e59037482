-- Up to ?1 relays, the one that was heard last first.
SELECT id, mark, host, process, version, since, heard_at, last_pass_at, last_error, last_error_at, pauses, destination
FROM outbox_relays ORDER BY heard_at DESC, id LIMIT ?1;
