-- For tables that were migrated before there was the column: all programs may use them.
ALTER TABLE outbox.outbox_migrations
    ADD COLUMN IF NOT EXISTS min_compatible integer NOT NULL DEFAULT 1 CHECK (min_compatible > 0)
