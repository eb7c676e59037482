-- Events that have arrived from an outbox, until a consumer takes them. docs/consuming.md describes each
-- column and the statements of consumers.

-- seq: the order of arrival. Events of one ordering key have ascending numbers. A transaction may commit
-- later than one with greater numbers, so a consumer never keeps a position: it deletes what it takes.
CREATE TABLE outbox.outbox_arrived (
    seq          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    id           uuid        PRIMARY KEY,
    created_at   timestamptz NOT NULL,
    arrived_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    event_type   text        NOT NULL,
    content_type text        NOT NULL,
    ordering_key text,
    headers      jsonb       NOT NULL DEFAULT '{}',
    payload      bytea       NOT NULL,
    CONSTRAINT headers_are_a_json_object CHECK (jsonb_typeof(headers) = 'object')
);

-- The order of consumers. Unique, so that a sequence that was set back is noticed before events of a key
-- change places.
CREATE UNIQUE INDEX outbox_arrived_in_order ON outbox.outbox_arrived (seq);

-- Rows come and go, so vacuum and analyze often.
ALTER TABLE outbox.outbox_arrived SET (autovacuum_vacuum_scale_factor = 0,
                                       autovacuum_vacuum_threshold = 10000,
                                       autovacuum_vacuum_cost_delay = 0);
