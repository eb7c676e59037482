-- The triggers of other programs on the table ?1.
SELECT name FROM sqlite_schema
WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE AND name NOT GLOB 'outbox_*'
ORDER BY name;
