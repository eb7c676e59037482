-- Which migrations were applied to which component (the store, a heap, an inbox), and when, in
-- microseconds since 1970. min_compatible: the oldest version whose programs may use the tables as they are
-- after the migration. The row of the newest version counts.
CREATE TABLE IF NOT EXISTS outbox_migrations (
    component      TEXT    NOT NULL,
    version        INTEGER NOT NULL CHECK (version > 0),
    applied_at     INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
    min_compatible INTEGER NOT NULL DEFAULT 1 CHECK (min_compatible > 0),
    PRIMARY KEY (component, version)
) STRICT;
