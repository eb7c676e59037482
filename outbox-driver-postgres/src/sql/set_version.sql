-- Records the migration $2 of the component $1, in the transaction of the migration.
INSERT INTO outbox.outbox_migrations (component, version) VALUES ($1, $2)
