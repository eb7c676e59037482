-- S4, S16, S22: whether the claim $3 still has the events that it keeps, at the places $1 with the ids $2. No
-- event was taken over by another claim; and if one is missing, it was deleted by hand, because the lease $6
-- until $5 is not over. (A lease that ends later than a new one would was taken while the server's clock was
-- ahead, and cut_leases.sql may have ended it.) $4: how long the transaction has waited for the lanes, whose
-- locks it has.
SELECT count(*) = count(*) FILTER (WHERE r.kept_by = $3)
       AND (count(*) = cardinality($1::bigint[]) OR now() + $4 < $5 AND $5 <= now() + $6)
FROM unnest($1::bigint[], $2::uuid[]) AS k (place, id)
JOIN outbox.outbox_retries AS r ON r.place = k.place AND r.id = k.id
