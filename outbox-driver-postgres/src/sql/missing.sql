-- Which of the tables and the like named $2 the schema $1 lacks.
SELECT name
FROM unnest($2::text[]) AS t (name)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND c.relname = t.name)
