-- One row for each event that failed. turn orders the leases (H9): an entry gets one at its first failure
-- and a new one at each lease. An entry is leased until leased_until; lease is the length of that lease.
-- Times are microseconds since 1970.
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
-- Finds without a scan that no entry has the threshold.
CREATE INDEX outbox_dlq_heap_count ON outbox_dlq_heap (failure_count);
-- A very large number would use up all numbers. In a BEFORE INSERT trigger, NEW.turn is -1 if the insert
-- leaves turn out.
CREATE TRIGGER outbox_dlq_heap_turn_given BEFORE INSERT ON outbox_dlq_heap
WHEN NEW.turn > 0
BEGIN
    SELECT RAISE(ABORT, 'outbox: turn is given by the table; leave it out');
END;
