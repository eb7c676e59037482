-- R1, R3: the row of the relay $1, whose claims have the mark $2: $3 host, $4 process, $5 version, $6 how long
-- ago it passed, $7 its last error and $8 how long ago that was, $9 its pauses, $10 how long a relay may be
-- silent, $11 how many other relays are kept, $12 its destination.
--
-- Atomic: one statement. Rows that another relay removes or writes at this moment are left to it.
WITH silent AS (
    DELETE FROM outbox.outbox_relays
    WHERE id IN (
        SELECT id
        FROM outbox.outbox_relays
        WHERE id <> $1
          AND (heard_at < now() - $10
               OR id IN (SELECT id FROM outbox.outbox_relays
                         WHERE id <> $1 ORDER BY heard_at DESC, id OFFSET $11))
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO outbox.outbox_relays AS r
       (id, since, heard_at, last_pass_at, last_error_at, process, mark, host, version, last_error, pauses,
        destination)
VALUES ($1, now(), now(), now() - $6, now() - $8, $4, $2, $3, $5, $7, $9::json, $12)
ON CONFLICT (id) DO UPDATE SET
    heard_at = excluded.heard_at,
    last_pass_at = excluded.last_pass_at,
    last_error_at = excluded.last_error_at,
    process = excluded.process,
    mark = excluded.mark,
    host = excluded.host,
    version = excluded.version,
    destination = excluded.destination,
    last_error = excluded.last_error,
    pauses = excluded.pauses
