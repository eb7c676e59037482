-- What the peer's two migrations make: its columns, its two indexes, and its row trigger, which
-- notifies on each insert and each update.
DROP TABLE IF EXISTS outbox_events;
DROP TYPE IF EXISTS status;
CREATE TYPE status AS ENUM ('Pending', 'Processing', 'Sent');
CREATE TABLE outbox_events (
    id                uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    idempotency_token text,
    event_type        text        NOT NULL,
    payload           jsonb       NOT NULL,
    status            status      NOT NULL DEFAULT 'Pending',
    created_at        timestamptz NOT NULL DEFAULT now(),
    locked_until      timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX queue ON outbox_events (locked_until, status) WHERE status IN ('Pending', 'Processing');
CREATE UNIQUE INDEX token ON outbox_events (idempotency_token);
CREATE OR REPLACE FUNCTION ping() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_notify(''outbox_event'', ''ping''); RETURN NEW; END';
CREATE TRIGGER ping AFTER INSERT OR UPDATE ON outbox_events FOR EACH ROW EXECUTE FUNCTION ping();
