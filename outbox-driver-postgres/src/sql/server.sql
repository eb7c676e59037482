-- The properties of the server that the statements need: features of the version, any text, and that a
-- statement reads the newest row after it has waited for a lock.
SELECT current_setting('server_version_num')::integer,
       current_setting('server_version'),
       current_setting('server_encoding'),
       current_setting('default_transaction_isolation'),
       version()
