-- Events that were published after they had waited. $1 places.
DELETE FROM outbox.outbox_retries WHERE place = ANY ($1)
