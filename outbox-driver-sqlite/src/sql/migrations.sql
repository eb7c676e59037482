-- Which migrations were applied to which component (the store, a heap, an inbox), and when, in
-- microseconds since 1970.
CREATE TABLE IF NOT EXISTS outbox_migrations (
    component  TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    applied_at INTEGER NOT NULL
        DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
    PRIMARY KEY (component, version)
) STRICT;
