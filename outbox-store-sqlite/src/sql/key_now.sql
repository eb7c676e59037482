-- S13: the key of the row with seq ?1 as it is now, and whether it is the event ?2 still. Nothing if
-- somebody removed it since it was claimed.
SELECT coalesce(ordering_key, id), id = ?2 FROM outbox_events WHERE seq = ?1;
