-- The rights of a relay that this user does not have: tables $1 with privileges $2, and functions $3, in
-- the schema $4.
SELECT needed.privilege || ' ON ' || $4::text || '.' || needed.name
FROM unnest($1::text[], $2::text[]) AS needed (name, privilege)
WHERE NOT has_table_privilege($4::text || '.' || needed.name, needed.privilege)
UNION ALL
SELECT 'EXECUTE ON FUNCTION ' || $4::text || '.' || name
FROM unnest($3::text[]) AS name
WHERE NOT has_function_privilege($4::text || '.' || name, 'EXECUTE')
