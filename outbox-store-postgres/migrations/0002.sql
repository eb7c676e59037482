-- Who works on this outbox, and why an event failed last.

-- The error of the last failed attempt.
ALTER TABLE outbox.outbox_retries ADD COLUMN last_error text;

-- One row for each relay that runs. It writes the row every ten seconds, and removes it when it stops. mark:
-- the first six bytes of the tokens of its claims. destination: where it publishes to, without a login. pauses: the
-- destinations that get no events for now.
CREATE TABLE outbox.outbox_relays (
    id            uuid        PRIMARY KEY,
    since         timestamptz NOT NULL,
    heard_at      timestamptz NOT NULL,
    last_pass_at  timestamptz,
    last_error_at timestamptz,
    process       bigint      NOT NULL,
    mark          bytea       NOT NULL CHECK (octet_length(mark) = 6),
    host          text        NOT NULL,
    version       text        NOT NULL,
    destination   text,
    last_error    text,
    pauses        json        NOT NULL
);

-- Finds the claims that still have events although their lanes are free. Few rows have an entry.
CREATE INDEX outbox_retries_kept ON outbox.outbox_retries (kept_by) WHERE kept_by IS NOT NULL;
