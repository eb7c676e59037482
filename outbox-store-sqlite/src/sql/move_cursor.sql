-- The log was read up to ?1. The turn changes if ?2 is 1.
UPDATE outbox_cursor SET position = ?1, turn = (turn + ?2) % 2;
