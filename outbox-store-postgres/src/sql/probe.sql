-- A notification on the channel $1 with the text $2, by which a listener finds out whether it hears.
SELECT pg_notify($1, $2)
