-- R1: the row of the relay ?1 at ?2, whose claims have the mark ?3: ?4 host, ?5 process, ?6 version, ?7 when it
-- passed, ?8 its last error and ?9 when that came, ?10 its pauses, ?11 its
-- destination.
INSERT INTO outbox_relays
    (id, since, heard_at, mark, host, process, version, last_pass_at, last_error, last_error_at, pauses,
     destination)
VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (id) DO UPDATE SET
    heard_at = excluded.heard_at,
    mark = excluded.mark,
    host = excluded.host,
    process = excluded.process,
    version = excluded.version,
    destination = excluded.destination,
    last_pass_at = excluded.last_pass_at,
    last_error = excluded.last_error,
    last_error_at = excluded.last_error_at,
    pauses = excluded.pauses;
