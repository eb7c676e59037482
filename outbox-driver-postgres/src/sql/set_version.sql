-- Records the migration $2 of the component $1, in the transaction of the migration. $3: min_compatible.
INSERT INTO outbox.outbox_migrations (component, version, min_compatible) VALUES ($1, $2, $3)
