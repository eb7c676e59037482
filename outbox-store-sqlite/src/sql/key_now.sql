-- S13: the key of the event with seq ?1 and id ?2 as it is now, or nothing if somebody removed or
-- replaced the event since it was claimed.
SELECT coalesce(ordering_key, id) FROM outbox_events WHERE seq = ?1 AND id = ?2;
