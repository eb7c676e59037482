-- The destinations that are off, until a person switches them on.
CREATE TABLE outbox.outbox_destinations_off (
    name   text        NOT NULL PRIMARY KEY,
    since  timestamptz NOT NULL DEFAULT now(),
    reason text        NOT NULL
);
