-- The newest migration of the component $1, and the oldest version whose programs may use its tables. The name
-- min_compatible is the column of the table or, in a table that has no such column yet, the 1 of `before`.
SELECT (SELECT max(version) FROM outbox.outbox_migrations WHERE component = $1),
       (SELECT min_compatible FROM outbox.outbox_migrations WHERE component = $1
        ORDER BY version DESC LIMIT 1)
FROM (SELECT 1 AS min_compatible) AS before
