-- The migrations that were applied, for each component (store, heap, inbox). min_compatible: the oldest version
-- whose programs may use the tables as they are after the migration. The row of the newest version counts.
CREATE TABLE IF NOT EXISTS outbox.outbox_migrations (
    component      text        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    applied_at     timestamptz NOT NULL DEFAULT now(),
    min_compatible integer     NOT NULL DEFAULT 1 CHECK (min_compatible > 0),
    PRIMARY KEY (component, version)
);
