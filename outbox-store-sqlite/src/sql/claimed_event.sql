-- S13: the row number of the event ?1, if its key belongs to the claim ?2. The row of that claim was
-- deleted by hand.
SELECT e.seq
FROM outbox_events e JOIN outbox_keys k ON k.key = coalesce(e.ordering_key, e.id)
WHERE e.id = ?1 AND k.token = ?2 AND e.seq <= k.last_seq;
