-- The ?1 largest groups of dead letters with the same type and error.
SELECT event_type, last_error, count(*), min(quarantined_at), max(quarantined_at)
FROM outbox_dead_letters
WHERE 1 /* and the filter */
GROUP BY event_type, last_error
ORDER BY count(*) DESC, event_type, last_error
LIMIT ?1;
