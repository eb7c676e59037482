-- One row per event that failed. `turn` is the order of fairness (H9): given at the first failure,
-- and anew at each lease. Times are microseconds since 1970.
CREATE TABLE outbox_dlq_heap (
    turn            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id        BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    failure_count   INTEGER NOT NULL CHECK (failure_count BETWEEN 1 AND 4294967295),
    last_error      TEXT,
    first_failed_at INTEGER NOT NULL,
    last_failed_at  INTEGER NOT NULL CHECK (last_failed_at >= first_failed_at),
    leased_until    INTEGER NOT NULL DEFAULT 0
) STRICT;
-- So that a look for exceeded entries costs nothing when there is none.
CREATE INDEX outbox_dlq_heap_count ON outbox_dlq_heap (failure_count);
