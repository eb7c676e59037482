-- Whether no migration of any component is noted.
SELECT count(*) = 0 FROM outbox.outbox_migrations
