-- The events that each consumer has handled.
CREATE TABLE outbox.outbox_inbox (
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id),
    CONSTRAINT consumer_is_1_to_1024_bytes CHECK (octet_length(consumer) BETWEEN 1 AND 1024)
);

CREATE INDEX outbox_inbox_by_age ON outbox.outbox_inbox (consumer, accepted_at);
