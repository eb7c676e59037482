-- The error of the last failed attempt of the first event of a key.
ALTER TABLE outbox_keys ADD COLUMN last_error TEXT;
