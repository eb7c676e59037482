-- D4: the dead letter at position ?1 leaves the quarantine.
DELETE FROM outbox_dead_letters WHERE position = ?1;
