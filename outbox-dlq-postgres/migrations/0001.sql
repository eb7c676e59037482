-- One row per event that failed. An entry waits for its lease since its last one ran out, or since
-- it failed first: the order of fairness (H9).
CREATE TABLE outbox.outbox_dlq_heap (
    event_id        uuid        PRIMARY KEY,
    failure_count   bigint      NOT NULL CHECK (failure_count BETWEEN 1 AND 4294967295),
    last_error      text,
    first_failed_at timestamptz NOT NULL,
    last_failed_at  timestamptz NOT NULL CHECK (last_failed_at >= first_failed_at),
    leased_until    timestamptz NOT NULL DEFAULT '-infinity'
);
-- So that a look for exceeded entries costs nothing when there is none.
CREATE INDEX outbox_dlq_heap_count ON outbox.outbox_dlq_heap (failure_count);
