-- One row per event that failed. `turn` is the order of fairness (H9): given at the first failure,
-- and again at each lease. An entry is leased until leased_until, which was lease ahead when it was
-- set. Times are microseconds since 1970.
CREATE TABLE outbox_dlq_heap (
    turn            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id        BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    failure_count   INTEGER NOT NULL CHECK (failure_count BETWEEN 1 AND 4294967295),
    last_error      TEXT,
    first_failed_at INTEGER NOT NULL,
    last_failed_at  INTEGER NOT NULL CHECK (last_failed_at >= first_failed_at),
    leased_until    INTEGER NOT NULL DEFAULT 0,
    lease           INTEGER NOT NULL DEFAULT 0 CHECK (lease >= 0)
) STRICT;
-- So that a look for exceeded entries costs nothing when there is none.
CREATE INDEX outbox_dlq_heap_count ON outbox_dlq_heap (failure_count);
-- A number far ahead would use up all numbers. Before an insert that leaves turn out, NEW.turn is -1.
CREATE TRIGGER outbox_dlq_heap_turn_given BEFORE INSERT ON outbox_dlq_heap
WHEN NEW.turn > 0
BEGIN
    SELECT RAISE(ABORT, 'outbox: turn is given by the table; leave it out');
END;
