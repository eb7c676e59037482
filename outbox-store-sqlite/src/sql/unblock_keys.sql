-- S13: unblocks the keys that no dead letter blocks. The dead letter was deleted or changed by hand.
UPDATE outbox_keys SET held = 0
WHERE held = 1 AND NOT EXISTS (SELECT 1 FROM outbox_dead_letters
                               WHERE ordering_key = outbox_keys.key AND holds = 1);
