-- The newest migration of the component $1.
SELECT max(version) FROM outbox.outbox_migrations WHERE component = $1
