-- For tables that were migrated before there was the column: all programs may use them.
ALTER TABLE outbox_migrations
    ADD COLUMN min_compatible INTEGER NOT NULL DEFAULT 1 CHECK (min_compatible > 0);
