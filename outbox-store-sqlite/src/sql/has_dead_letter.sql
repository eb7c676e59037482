-- Whether the dead letter at the position ?1 exists.
SELECT 1 FROM outbox_dead_letters WHERE position = ?1;
