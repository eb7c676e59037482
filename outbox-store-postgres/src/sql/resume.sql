-- S23: makes up to $2 events due that are held for the destination $1 and that no claim has, those whose delay
-- ends first, and wakes the workers that listen for new rows of the table $3. Returns how many.
--
-- Atomic: one statement. It takes no lock of a lane, because a claim may read an event as held or as due. A
-- row that another transaction changes is skipped: it is claimed, settled or quarantined at this moment.
WITH page AS MATERIALIZED (
    SELECT r.place
    FROM outbox.outbox_retries AS r
    WHERE r.held_for = $1
      AND r.place NOT IN (SELECT unnest(held) FROM outbox.outbox_newest)
    ORDER BY coalesce(r.due_at, r.delayed_until), r.place
    LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
),
resumed AS (
    UPDATE outbox.outbox_retries AS r
    SET due_at = CASE WHEN due_at IS NOT NULL THEN now() END, delayed_until = NULL, held_for = NULL
    FROM page AS p
    WHERE r.place = p.place
    RETURNING r.place
)
SELECT count(*),
       CASE WHEN count(*) > 0 AND pg_notification_queue_usage() < 0.5
            THEN pg_notify('outbox_' || $3::regclass::oid, '') END
FROM resumed
