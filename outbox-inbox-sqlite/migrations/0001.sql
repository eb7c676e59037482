-- One row for each event that a consumer has handled. Times are microseconds since 1970.
CREATE TABLE outbox_inbox (
    consumer    TEXT    NOT NULL,
    event_id    BLOB    NOT NULL CHECK (length(event_id) = 16),
    accepted_at INTEGER NOT NULL
        CONSTRAINT "accepted_at is in microseconds since 1970, from the years 1980 to 9999" CHECK
        (accepted_at BETWEEN 315532800000000 AND 253402300799999999),
    PRIMARY KEY (consumer, event_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_inbox_by_age ON outbox_inbox (consumer, accepted_at);
