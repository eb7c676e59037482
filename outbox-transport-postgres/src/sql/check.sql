-- What a publisher needs in the schema $1, from catalogs that every role may read. $2 has the columns of
-- outbox_arrived that are written.
SELECT current_setting('server_version'),
       current_setting('transaction_read_only') = 'on',
       current_setting('synchronous_commit'),
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
       c.oid IS NOT NULL,
       coalesce(c.relpersistence = 'u', false),
       ARRAY (SELECT name FROM unnest($2::text[]) AS w (name)
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                                WHERE a.attrelid = c.oid AND a.attname = name AND NOT a.attisdropped)),
       ARRAY (SELECT name FROM unnest($2::text[]) AS w (name)
              JOIN pg_catalog.pg_attribute AS a
                ON a.attrelid = c.oid AND a.attname = name AND NOT a.attisdropped
              WHERE NOT has_column_privilege(c.oid, a.attnum, 'INSERT')
                 OR a.attname = 'id' AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')),
       coalesce((SELECT has_table_privilege(m.oid, 'SELECT') FROM pg_catalog.pg_class AS m
                 WHERE m.relnamespace = n.oid AND m.relname = 'outbox_migrations'), false)
FROM (SELECT $1::text) AS named (name)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = named.name
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'outbox_arrived'
