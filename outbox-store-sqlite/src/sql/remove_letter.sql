-- D4: the letter at position ?1 leaves the quarantine.
DELETE FROM outbox_dead_letters WHERE position = ?1;
