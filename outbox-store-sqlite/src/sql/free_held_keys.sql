-- S13: keys that no dead letter holds wait for none. Somebody deleted it, or its hold.
UPDATE outbox_keys SET held = 0
WHERE held = 1 AND NOT EXISTS (SELECT 1 FROM outbox_dead_letters
                               WHERE ordering_key = outbox_keys.key AND holds = 1);
