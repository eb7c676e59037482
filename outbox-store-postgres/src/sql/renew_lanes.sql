-- Renews the lanes, whose table is $1, if the table is larger than $2 bytes, because old states of the rows
-- slow down each claim. NULL if it is smaller. One transaction under the lock of the table.
SELECT CASE WHEN pg_relation_size($1::regclass) > $2 THEN outbox.outbox_renew_lanes() END
