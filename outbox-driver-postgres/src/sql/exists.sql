-- Whether the schema $1 exists, and whether it has a table or view named $2.
SELECT count(*) > 0, coalesce(bool_or(EXISTS (
    SELECT FROM pg_catalog.pg_class WHERE relnamespace = namespace.oid AND relname = $2
)), false)
FROM pg_catalog.pg_namespace AS namespace
WHERE nspname = $1
