-- Whether the schema $1 has the comment $2, and the statements that drop it with its views, tables,
-- sequences and functions. Without CASCADE: what others have built on it stops the demo, and stays.
SELECT coalesce(obj_description(oid, 'pg_namespace') = $2, false),
       concat_ws('; ',
           (SELECT 'DROP VIEW ' || string_agg(oid::regclass::text, ', ')
            FROM pg_class WHERE relnamespace = namespace.oid AND relkind = 'v'),
           (SELECT 'DROP TABLE ' || string_agg(oid::regclass::text, ', ')
            FROM pg_class WHERE relnamespace = namespace.oid AND relkind = 'r'),
           -- Those of columns go with their tables.
           (SELECT 'DROP SEQUENCE ' || string_agg(oid::regclass::text, ', ')
            FROM pg_class AS sequence WHERE relnamespace = namespace.oid AND relkind = 'S'
            AND NOT EXISTS (SELECT FROM pg_depend
                            WHERE objid = sequence.oid AND deptype IN ('a', 'i'))),
           (SELECT 'DROP FUNCTION ' || string_agg(oid::regprocedure::text, ', ')
            FROM pg_proc WHERE pronamespace = namespace.oid),
           format('DROP SCHEMA %I', nspname))
FROM pg_namespace AS namespace
WHERE nspname = $1
