-- Renews the log, whose table is $1, if it takes more than $2 bytes and little of it is unread. NULL if it
-- takes less. One transaction under the lock of the table.
SELECT CASE WHEN pg_total_relation_size($1::regclass) > $2 THEN outbox.outbox_renew_events() END
