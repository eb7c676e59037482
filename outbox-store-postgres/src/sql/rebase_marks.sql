-- Deletes the marks of another cluster's transactions.
DELETE FROM outbox.outbox_marks
