-- What the statements rely on: the features of the version, any text, and that a statement which
-- waited for a lock looks at the newest row.
SELECT current_setting('server_version_num')::integer,
       current_setting('server_version'),
       current_setting('server_encoding'),
       current_setting('default_transaction_isolation')
