-- Whether the table outbox_migrations in the schema $1 has the column min_compatible.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = 'outbox_migrations' AND a.attname = 'min_compatible'
)
