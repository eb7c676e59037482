-- Whether the schema $1 has the comment $2, and the statements that drop it with its tables and
-- functions. Without CASCADE: what others have built on it stops the demo, and stays.
SELECT coalesce(obj_description(oid, 'pg_namespace') = $2, false),
       concat_ws('; ',
           (SELECT 'DROP TABLE ' || string_agg(oid::regclass::text, ', ')
            FROM pg_class WHERE relnamespace = namespace.oid AND relkind = 'r'),
           (SELECT 'DROP FUNCTION ' || string_agg(oid::regprocedure::text, ', ')
            FROM pg_proc WHERE pronamespace = namespace.oid),
           format('DROP SCHEMA %I', nspname))
FROM pg_namespace AS namespace
WHERE nspname = $1
