-- The tables with a foreign key to the table ?1.
SELECT DISTINCT other.name
FROM sqlite_schema AS other, pragma_foreign_key_list(other.name) AS key
WHERE other.type = 'table' AND key."table" = ?1 COLLATE NOCASE
ORDER BY other.name;
