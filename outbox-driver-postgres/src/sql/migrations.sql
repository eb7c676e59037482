-- The migrations that were applied, for each component (store, heap, inbox).
CREATE TABLE IF NOT EXISTS outbox.outbox_migrations (
    component  text        NOT NULL,
    version    integer     NOT NULL CHECK (version > 0),
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, version)
);
