-- The columns of the tables $2 in the schema $1, with their types and whether they may be NULL.
SELECT concat_ws(' ', table_name, column_name, udt_name, is_nullable) AS "column"
FROM information_schema.columns
WHERE table_schema = $1 AND table_name = ANY ($2)
ORDER BY 1
