-- The $6 largest groups of dead letters that match the filter $1 to $5 of filter.sql.
SELECT event_type, last_error, count(*) AS count, min(quarantined_at) AS oldest,
       max(quarantined_at) AS newest
FROM outbox.outbox_dead_letters
WHERE true /* and the filter */
GROUP BY event_type, last_error
ORDER BY count DESC, oldest, event_type, last_error
LIMIT $6
