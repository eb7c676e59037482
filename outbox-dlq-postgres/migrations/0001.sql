-- One row for each event that failed. Entries are leased in the order in which they started to wait (H9):
-- at the end of their last lease, or at their first failure.
CREATE TABLE outbox.outbox_dlq_heap (
    event_id        uuid        PRIMARY KEY,
    failure_count   bigint      NOT NULL CHECK (failure_count BETWEEN 1 AND 4294967295),
    last_error      text,
    first_failed_at timestamptz NOT NULL,
    last_failed_at  timestamptz NOT NULL CHECK (last_failed_at >= first_failed_at),
    leased_until    timestamptz NOT NULL DEFAULT '-infinity'
);
-- Finds exceeded entries without reading the others.
CREATE INDEX outbox_dlq_heap_count ON outbox.outbox_dlq_heap (failure_count);
