-- S7: a claim whose lease has ended. Locks its lanes in their order.
SELECT l.lane, l.token, coalesce(l.held, '{}') AS held
FROM outbox.outbox_newest AS n
JOIN outbox.outbox_lanes AS l
  ON outbox.outbox_indexed(l.lane) = n.lane AND l.epoch >= n.epoch AND l.token = n.token
WHERE n.token = (SELECT token FROM outbox.outbox_newest
                 WHERE leased_until <= now() ORDER BY leased_until LIMIT 1)
ORDER BY n.lane
FOR UPDATE OF l
