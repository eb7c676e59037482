-- One row for each relay that runs. It writes the row every ten seconds, and removes it when it stops. mark:
-- the first six bytes of the tokens of its claims. destination: where it publishes to, without a login. pauses: the
-- destinations that get no events for now, as JSON.
CREATE TABLE IF NOT EXISTS outbox_relays (
    id            BLOB    PRIMARY KEY CHECK (length(id) = 16),
    mark          BLOB    NOT NULL CHECK (length(mark) = 6),
    host          TEXT    NOT NULL,
    process       INTEGER NOT NULL,
    version       TEXT    NOT NULL,
    destination   TEXT,
    since         INTEGER NOT NULL,
    heard_at      INTEGER NOT NULL,
    last_pass_at  INTEGER,
    last_error    TEXT,
    last_error_at INTEGER,
    pauses        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
