-- The time, and up to $1 relays, the one that was heard last first.
SELECT now() AS now, r.id, r.mark, r.host, r.process, r.version, r.since, r.heard_at, r.last_pass_at,
       r.last_error, r.last_error_at, r.pauses::text AS pauses, r.destination
FROM (SELECT true) AS one
LEFT JOIN (SELECT * FROM outbox.outbox_relays ORDER BY heard_at DESC, id LIMIT $1) AS r ON true
ORDER BY r.heard_at DESC, r.id
