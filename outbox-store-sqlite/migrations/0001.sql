-- The outbox on SQLite. A producer in any language inserts into outbox_events; the other tables
-- belong to the relay. Times are microseconds since 1970. docs/sqlite-schema.md tells each column.

-- seq is given by the table and grows with each commit: SQLite has one writer at a time, so the
-- order of rows is the order of commits. AUTOINCREMENT, so that a number never comes again.
CREATE TABLE outbox_events (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                BLOB    NOT NULL UNIQUE DEFAULT (randomblob(16)) CHECK (length(id) = 16),
    event_type        TEXT    NOT NULL CHECK (event_type <> ''),
    payload           ANY     NOT NULL CHECK (typeof(payload) IN ('blob', 'text')),
    content_type      TEXT    NOT NULL DEFAULT 'application/json',
    headers           TEXT    NOT NULL DEFAULT '{}'
                      CHECK (json_valid(headers) AND json_type(headers) = 'object'),
    ordering_key      TEXT,
    idempotency_token TEXT,
    created_at        INTEGER NOT NULL
                      DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
    available_at      INTEGER,
    replays           INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX outbox_events_by_key ON outbox_events (ordering_key, seq)
    WHERE ordering_key IS NOT NULL;

-- Tokens outlive their events, so that a token stays taken after its event was published.
CREATE TABLE outbox_tokens (
    token      TEXT    PRIMARY KEY,
    event_id   BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_tokens_by_age ON outbox_tokens (created_at);

-- One row. Each event with seq <= position was taken up once: it is claimed, waits behind its
-- key, or has left. turn alternates whether retries or fresh events come first.
CREATE TABLE outbox_cursor (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    turn     INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_cursor (one, position, turn) VALUES (1, 0, 0);

-- A row for each key that is claimed (token set) or waits (token NULL, due at due_at; never, as
-- long as a letter holds it: due_at is then the largest integer). key is an
-- ordering key (TEXT), or the id (BLOB) of an event without one. attempts and worker_lost belong
-- to the key's first event. suspect_seq: events up to it were in a claim whose worker was lost.
CREATE TABLE outbox_keys (
    key         ANY     PRIMARY KEY,
    token       BLOB,
    last_seq    INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    suspect_seq INTEGER,
    worker_lost INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_keys_due ON outbox_keys (due_at)
    WHERE token IS NULL AND suspect_seq IS NULL;
CREATE INDEX outbox_keys_suspect ON outbox_keys (due_at)
    WHERE token IS NULL AND suspect_seq IS NOT NULL;
CREATE INDEX outbox_keys_claimed ON outbox_keys (token) WHERE token IS NOT NULL;

CREATE TABLE outbox_claims (
    token        BLOB    PRIMARY KEY,
    leased_until INTEGER NOT NULL,
    size         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The quarantine. position grows with each quarantine, for paging.
CREATE TABLE outbox_dead_letters (
    position          INTEGER PRIMARY KEY AUTOINCREMENT,
    seq               INTEGER NOT NULL,
    id                BLOB    NOT NULL UNIQUE,
    event_type        TEXT    NOT NULL,
    payload           ANY     NOT NULL,
    content_type      TEXT    NOT NULL,
    headers           TEXT    NOT NULL,
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
    holds             INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The letters that hold their key: events of it with a larger seq wait until the letter is gone.
CREATE INDEX outbox_dead_letters_holding ON outbox_dead_letters (ordering_key, seq)
    WHERE holds = 1;

-- A row behind the cursor would never be found, so it is refused where it enters. A replay may put
-- an event back to its old place, as its key leads to it.
CREATE TRIGGER outbox_events_after_cursor AFTER INSERT ON outbox_events
WHEN NEW.replays = 0 AND NEW.seq <= (SELECT position FROM outbox_cursor)
BEGIN
    SELECT RAISE(ABORT, 'outbox: seq is given by the table; leave it out');
END;

-- The same event may keep its token (a replay); another event is refused.
CREATE TRIGGER outbox_events_token AFTER INSERT ON outbox_events
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
