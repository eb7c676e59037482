-- Whether the tables came from another cluster, as in a restored dump: transaction numbers there are
-- others, and the snapshots mean nothing here.
SELECT o.system_identifier <> c.system_identifier AS is_foreign
FROM outbox.outbox_origin AS o, pg_control_system() AS c
