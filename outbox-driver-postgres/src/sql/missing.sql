-- The tables and views of the names $2 that are missing in the schema $1.
SELECT name
FROM unnest($2::text[]) AS t (name)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND c.relname = t.name)
