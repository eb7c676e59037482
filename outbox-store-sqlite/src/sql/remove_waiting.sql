-- Removes the rows of the key ?1 before its first waiting event (?2). Their events have left.
DELETE FROM outbox_waiting WHERE key = ?1 AND seq < ?2;
