-- The tables of the names $2 in the schema $1 that may hide rows from the current role.
SELECT c.relname::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relrowsecurity
  AND pg_catalog.row_security_active(c.oid)
ORDER BY 1
