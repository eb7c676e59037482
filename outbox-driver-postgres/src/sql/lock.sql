-- Allows one migration of the schema $1 at a time. The end of the transaction releases the lock.
SELECT pg_advisory_xact_lock(hashtextextended('outbox_migrations ' || $1, 0))
