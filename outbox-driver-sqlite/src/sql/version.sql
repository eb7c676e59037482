-- The newest migration of the component ?1; NULL if it has none.
SELECT max(version) FROM outbox_migrations WHERE component = ?1;
