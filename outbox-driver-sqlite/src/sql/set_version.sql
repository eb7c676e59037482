-- Migration ?2 of the component ?1 is applied. In the transaction of the migration. ?3: min_compatible.
INSERT INTO outbox_migrations (component, version, min_compatible) VALUES (?1, ?2, ?3);
