-- Notifies the channel $1 with the text $2. A listener checks with it whether notifications arrive.
SELECT pg_notify($1, $2)
