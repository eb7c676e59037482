-- One migration at a time per schema $1. Held until the transaction ends, so it cannot be left behind.
SELECT pg_advisory_xact_lock(hashtextextended('outbox_migrations ' || $1, 0))
