-- ?1 component, ?2 version. In the transaction of the migrations that it counts.
INSERT INTO outbox_schema (component, version) VALUES (?1, ?2)
ON CONFLICT (component) DO UPDATE SET version = excluded.version;
