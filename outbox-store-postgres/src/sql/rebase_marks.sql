-- Marks of transactions of another cluster.
DELETE FROM outbox.outbox_marks
