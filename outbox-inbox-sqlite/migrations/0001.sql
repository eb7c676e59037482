-- Which events a consumer has handled. Times are microseconds since 1970.
CREATE TABLE outbox_inbox (
    consumer    TEXT    NOT NULL,
    event_id    BLOB    NOT NULL CHECK (length(event_id) = 16),
    accepted_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, event_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_inbox_by_age ON outbox_inbox (consumer, accepted_at);
