-- S7: the event with the row number ?1 was in a lost claim, so it and the earlier events of its key are
-- suspects.
UPDATE outbox_keys SET suspect_seq = max(coalesce(suspect_seq, ?1), ?1)
WHERE key = (SELECT coalesce(ordering_key, id) FROM outbox_events WHERE seq = ?1);
