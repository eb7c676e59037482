-- D4: removes the dead letter at the position ?1.
DELETE FROM outbox_dead_letters WHERE position = ?1;
