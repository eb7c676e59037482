-- Which events a consumer has handled.
CREATE TABLE outbox.outbox_inbox (
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX outbox_inbox_by_age ON outbox.outbox_inbox (consumer, accepted_at);
