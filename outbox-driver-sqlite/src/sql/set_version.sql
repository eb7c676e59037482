-- Migration ?2 of the component ?1 is applied. In the transaction of the migration.
INSERT INTO outbox_migrations (component, version) VALUES (?1, ?2);
