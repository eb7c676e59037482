-- The row number up to which the log was read, and the turn.
SELECT position, turn FROM outbox_cursor;
