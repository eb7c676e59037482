-- One row for each destination that is off, until a person switches it on. Times are microseconds since 1970.
CREATE TABLE outbox_destinations_off (
    name   TEXT    NOT NULL PRIMARY KEY,
    since  INTEGER NOT NULL,
    reason TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
