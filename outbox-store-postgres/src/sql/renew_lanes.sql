-- Renews the lanes, whose table is $1, if it is larger than $2 bytes: their old states are in the way of
-- each claim. NULL: it is not. One transaction under the lock of the table.
SELECT CASE WHEN pg_relation_size($1::regclass) > $2 THEN outbox.outbox_renew_lanes() END
