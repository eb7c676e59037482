-- How far the log was taken up, and whose turn it is.
SELECT position, turn FROM outbox_cursor;
