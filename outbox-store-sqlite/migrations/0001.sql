-- The outbox on SQLite. A producer in any language inserts into outbox_events. The other tables belong to
-- the relay. Times are microseconds since 1970. docs/sqlite-schema.md describes each column. Each statement
-- creates only what is missing, so the script may run again.

-- The table gives seq, which grows with each commit: SQLite has one writer at a time, so the order of the
-- rows is the order of the commits. With AUTOINCREMENT no number is used twice. payload is the last column,
-- so SQLite reads the other columns without it.
CREATE TABLE IF NOT EXISTS outbox_events (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT
        CONSTRAINT "seq is given by the table" CHECK (seq > 0),
    id                BLOB    NOT NULL UNIQUE DEFAULT (randomblob(16))
        CONSTRAINT "id has 16 bytes" CHECK (length(id) = 16),
    size              INTEGER NOT NULL GENERATED ALWAYS AS
        (length(CAST(payload AS BLOB)) + length(CAST(headers AS BLOB)) - 2) STORED,
    event_type        TEXT    NOT NULL
        CONSTRAINT "event_type has 1 to 1024 bytes and no NUL" CHECK
        (length(CAST(event_type AS BLOB)) BETWEEN 1 AND 1024 AND instr(event_type, char(0)) = 0),
    content_type      TEXT    NOT NULL DEFAULT 'application/json'
        CONSTRAINT "content_type has 1 to 1024 bytes and no NUL" CHECK
        (length(CAST(content_type AS BLOB)) BETWEEN 1 AND 1024 AND instr(content_type, char(0)) = 0),
    ordering_key      TEXT
        CONSTRAINT "ordering_key has up to 8192 bytes and no NUL" CHECK
        (length(CAST(ordering_key AS BLOB)) <= 8192 AND instr(ordering_key, char(0)) = 0),
    idempotency_token TEXT
        CONSTRAINT "idempotency_token has up to 1024 bytes and no NUL" CHECK
        (length(CAST(idempotency_token AS BLOB)) <= 1024 AND instr(idempotency_token, char(0)) = 0),
    created_at        INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
        CONSTRAINT "created_at is in microseconds since 1970, from the years 1980 to 9999" CHECK
        (created_at BETWEEN 315532800000000 AND 253402300799999999),
    available_at      INTEGER
        CONSTRAINT "available_at is in microseconds since 1970, from the years 1980 to 9999" CHECK
        (available_at BETWEEN 315532800000000 AND 253402300799999999),
    replays           INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "replays is 0 to 4294967295" CHECK (replays BETWEEN 0 AND 4294967295),
    headers           TEXT    NOT NULL DEFAULT '{}'
        CONSTRAINT "headers is a JSON object without a NUL" CHECK
        (json_valid(headers) AND json_type(headers) = 'object' AND instr(headers, char(0)) = 0
         AND instr(replace(headers, '\\', ''), '\u0000') = 0),
    payload           ANY     NOT NULL
        CONSTRAINT "payload is BLOB or TEXT" CHECK (typeof(payload) IN ('blob', 'text'))
) STRICT;

CREATE INDEX IF NOT EXISTS outbox_events_by_key ON outbox_events (ordering_key, seq)
    WHERE ordering_key IS NOT NULL;

-- Tokens outlive their events, so that a token stays taken after its event was published.
CREATE TABLE IF NOT EXISTS outbox_tokens (
    token      TEXT    PRIMARY KEY,
    event_id   BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS outbox_tokens_by_age ON outbox_tokens (created_at);

-- One row. A claim has read each event with seq <= position: the event is claimed, waits with its key, or
-- has left. turn alternates whether retries or fresh events come first. If the row is missing, the next
-- claim starts again at 0. That is safe, because outbox_keys says which events are claimed or wait.
CREATE TABLE IF NOT EXISTS outbox_cursor (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    turn     INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_cursor (one, position, turn)
SELECT 1, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM outbox_cursor);

-- One row for each key that waits (token is NULL), or that is claimed (token is set) and has an event that
-- waits or has waited. It waits until due_at, which was delay from now when it was set, or, if held is 1,
-- until a dead letter of the key is gone. If destination is set, a resumption of that destination ends the
-- wait. key is an ordering key (TEXT), or the id (BLOB) of an event without one. attempts and worker_lost
-- belong to the first event of the key. Events up to suspect_seq were in a claim whose worker was lost.
CREATE TABLE IF NOT EXISTS outbox_keys (
    key         ANY     PRIMARY KEY
        CHECK (typeof(key) = 'text' OR (typeof(key) = 'blob' AND length(key) = 16)),
    token       BLOB,
    last_seq    INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    delay       INTEGER NOT NULL DEFAULT 0 CHECK (delay >= 0),
    held        INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 4294967295),
    suspect_seq INTEGER,
    worker_lost INTEGER NOT NULL DEFAULT 0 CHECK (worker_lost IN (0, 1)),
    destination TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS outbox_keys_due ON outbox_keys (due_at, delay)
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NULL;
CREATE INDEX IF NOT EXISTS outbox_keys_suspect ON outbox_keys (due_at, delay)
    WHERE token IS NULL AND held = 0 AND suspect_seq IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_keys_held ON outbox_keys (destination, due_at)
    WHERE token IS NULL AND destination IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_keys_claimed ON outbox_keys (token) WHERE token IS NOT NULL;

-- One row for each claim: when its lease ends, the length of the lease, how many events it had at first, and
-- the events that it has (24 bytes for each: id, and seq with the highest byte first). With them a settlement
-- finds the events that were deleted or replaced by hand. keys are its ordering keys without a row in
-- outbox_keys: for each the seq of its last event (8 bytes), the length of the key (4 bytes), and the key.
CREATE TABLE IF NOT EXISTS outbox_claims (
    token        BLOB    PRIMARY KEY CHECK (length(token) = 16),
    leased_until INTEGER NOT NULL,
    lease        INTEGER NOT NULL CHECK (lease >= 0),
    size         INTEGER NOT NULL CHECK (size > 0),
    events       BLOB    NOT NULL CHECK (length(events) % 24 = 0),
    keys         BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- The quarantine. position grows with each quarantine, for paging.
CREATE TABLE IF NOT EXISTS outbox_dead_letters (
    position          INTEGER PRIMARY KEY AUTOINCREMENT CHECK (position > 0),
    seq               INTEGER NOT NULL,
    id                BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    payload_size      INTEGER NOT NULL GENERATED ALWAYS AS
        (length(CAST(payload AS BLOB))) STORED,
    event_type        TEXT    NOT NULL,
    content_type      TEXT    NOT NULL,
    ordering_key      TEXT,
    idempotency_token TEXT,
    created_at        INTEGER NOT NULL,
    available_at      INTEGER,
    replays           INTEGER NOT NULL,
    failure_count     INTEGER NOT NULL,
    last_error        TEXT,
    first_failed_at   INTEGER NOT NULL,
    last_failed_at    INTEGER NOT NULL,
    quarantined_at    INTEGER NOT NULL,
    holds             INTEGER NOT NULL DEFAULT 0 CHECK (holds IN (0, 1)),
    headers           TEXT    NOT NULL,
    payload           ANY     NOT NULL CHECK (typeof(payload) IN ('blob', 'text'))
) STRICT;

-- The dead letters that block their key: its events with a larger seq wait until they are gone.
CREATE INDEX IF NOT EXISTS outbox_dead_letters_holding ON outbox_dead_letters (ordering_key, seq)
    WHERE holds = 1;

-- A number that the table did not give breaks the order of the commits, and a very large one would use up
-- all numbers. In a BEFORE INSERT trigger, NEW.seq is -1 if the insert leaves seq out. If a dead letter
-- blocks its key, its replay gives the event its old number.
CREATE TRIGGER IF NOT EXISTS outbox_events_seq_given BEFORE INSERT ON outbox_events
WHEN NEW.seq > 0
BEGIN
    SELECT RAISE(ABORT, 'outbox: seq is given by the table; leave it out')
    WHERE NOT EXISTS (SELECT 1 FROM outbox_dead_letters
                      WHERE id = NEW.id AND seq = NEW.seq AND holds = 1);
END;

CREATE TRIGGER IF NOT EXISTS outbox_events_seq_kept BEFORE UPDATE ON outbox_events
WHEN NEW.seq <> OLD.seq
BEGIN
    SELECT RAISE(ABORT, 'outbox: seq is given by the table; do not change it');
END;

CREATE TRIGGER IF NOT EXISTS outbox_dead_letters_position_given BEFORE INSERT ON outbox_dead_letters
WHEN NEW.position > 0
BEGIN
    SELECT RAISE(ABORT, 'outbox: position is given by the table; leave it out');
END;

CREATE TRIGGER IF NOT EXISTS outbox_dead_letters_position_kept BEFORE UPDATE ON outbox_dead_letters
WHEN NEW.position <> OLD.position
BEGIN
    SELECT RAISE(ABORT, 'outbox: position is given by the table; do not change it');
END;

-- The table gives numbers from 1 again if its rows and those of sqlite_sequence were deleted. The cursor
-- then moves back, because claims read only the rows beyond it.
CREATE TRIGGER IF NOT EXISTS outbox_events_behind_cursor AFTER INSERT ON outbox_events
WHEN NEW.seq <= (SELECT position FROM outbox_cursor)
    AND NOT EXISTS (SELECT 1 FROM outbox_dead_letters
                    WHERE id = NEW.id AND seq = NEW.seq AND holds = 1)
BEGIN
    UPDATE outbox_cursor SET position = NEW.seq - 1;
END;

-- JSON of up to 1 MiB cannot exceed the limit. Of longer JSON, the names and values are counted.
CREATE TRIGGER IF NOT EXISTS outbox_events_headers AFTER INSERT ON outbox_events
WHEN length(CAST(NEW.headers AS BLOB)) > 1048576
BEGIN
    SELECT RAISE(ABORT, 'outbox: the names and values of headers have up to 1 MiB')
    WHERE (SELECT sum(length(CAST(key AS BLOB)) + length(CAST(value AS BLOB)))
           FROM json_each(NEW.headers)) > 1048576;
END;

-- A replayed event may keep its token. Another event with the token is refused.
CREATE TRIGGER IF NOT EXISTS outbox_events_token AFTER INSERT ON outbox_events
WHEN NEW.idempotency_token IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'outbox: duplicate idempotency token')
    WHERE EXISTS (SELECT 1 FROM outbox_tokens
                  WHERE token = NEW.idempotency_token AND event_id <> NEW.id);
    INSERT INTO outbox_tokens (token, event_id, created_at)
    SELECT NEW.idempotency_token, NEW.id,
           CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    WHERE NOT EXISTS (SELECT 1 FROM outbox_tokens WHERE token = NEW.idempotency_token);
END;

-- An event that the cursor has passed was given another key by hand: that key gets a row, so that a claim
-- finds the event. If a dead letter blocks that key, the next claim checks whether it blocks this event.
CREATE TRIGGER IF NOT EXISTS outbox_events_rekeyed AFTER UPDATE ON outbox_events
WHEN coalesce(NEW.ordering_key, NEW.id) IS NOT coalesce(OLD.ordering_key, OLD.id)
    AND NEW.seq <= (SELECT position FROM outbox_cursor)
BEGIN
    INSERT INTO outbox_keys (key, last_seq, due_at)
    SELECT coalesce(NEW.ordering_key, NEW.id), NEW.seq, 0
    WHERE NOT EXISTS (SELECT 1 FROM outbox_keys
                      WHERE key = coalesce(NEW.ordering_key, NEW.id));
    UPDATE outbox_keys SET held = 0
    WHERE key = coalesce(NEW.ordering_key, NEW.id) AND held = 1;
END;

-- The time of a delayed event was changed by hand: its key is due now, and the next claim reads the time.
CREATE TRIGGER IF NOT EXISTS outbox_events_rescheduled AFTER UPDATE ON outbox_events
WHEN NEW.available_at IS NOT OLD.available_at
BEGIN
    UPDATE outbox_keys SET due_at = 0, delay = 0
    WHERE key = coalesce(NEW.ordering_key, NEW.id) AND token IS NULL
      AND due_at = OLD.available_at;
END;

-- A dead letter that was deleted, or changed by hand, no longer blocks its key. The next claim checks
-- whether another dead letter does.
CREATE TRIGGER IF NOT EXISTS outbox_dead_letters_deleted AFTER DELETE ON outbox_dead_letters
WHEN OLD.holds = 1
BEGIN
    UPDATE outbox_keys SET held = 0 WHERE key = OLD.ordering_key AND held = 1;
END;

CREATE TRIGGER IF NOT EXISTS outbox_dead_letters_changed AFTER UPDATE ON outbox_dead_letters
WHEN OLD.holds = 1
BEGIN
    UPDATE outbox_keys SET held = 0 WHERE key = OLD.ordering_key AND held = 1;
END;
