-- Which components were migrated in this file, and how far.
-- Runs inside the write transaction of the migration, so only one process at a time creates it.
CREATE TABLE IF NOT EXISTS outbox_schema (
    component TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT;
