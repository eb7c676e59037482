-- S7: a claim whose lease has ended. Locks its lanes in their order.
SELECT lane, token, coalesce(held, '{}') AS held
FROM outbox.outbox_lanes
WHERE token = (SELECT token FROM outbox.outbox_lanes
               WHERE leased_until <= now() ORDER BY leased_until LIMIT 1)
ORDER BY lane
FOR UPDATE
