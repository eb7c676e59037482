-- Deletes marks that are older than the one that the oldest open transaction needs.
DELETE FROM outbox.outbox_marks
WHERE EXISTS (SELECT FROM outbox.outbox_home)
  AND xid < (SELECT m.xid FROM outbox.outbox_marks AS m
             WHERE m.xid <= (SELECT pg_snapshot_xmin(seen) AS xid FROM outbox.outbox_newest
                             ORDER BY xid LIMIT 1)
             ORDER BY m.xid DESC
             LIMIT 1)
