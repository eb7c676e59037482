-- S7: a claim whose lease ran out, with the locks of its lanes, in the order of the lanes.
SELECT lane, token, coalesce(held, '{}') AS held
FROM outbox.outbox_lanes
WHERE token = (SELECT token FROM outbox.outbox_lanes
               WHERE leased_until <= now() ORDER BY leased_until LIMIT 1)
ORDER BY lane
FOR UPDATE
