-- The log is taken up to ?1, and the turn moves by ?2.
UPDATE outbox_cursor SET position = ?1, turn = turn + ?2;
