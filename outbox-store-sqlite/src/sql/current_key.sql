-- S13: the key of the event with the row number ?1, and whether it is still the event ?2. No row if that
-- was deleted by hand after it was claimed.
SELECT coalesce(ordering_key, id), id = ?2 FROM outbox_events WHERE seq = ?1;
