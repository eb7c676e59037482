-- S5, S9: which of the keys $1 have an event that waits, other than at the places $2, or a letter
-- that holds them. Events of such a key from the log must wait behind it.
SELECT k.key
FROM unnest($1::text[]) AS k (key)
WHERE EXISTS (SELECT FROM outbox.outbox_retries AS r
              WHERE hashtextextended(r.ordering_key, 0) = hashtextextended(k.key, 0) AND r.ordering_key = k.key AND r.place <> ALL ($2))
   OR EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
              WHERE hashtextextended(d.ordering_key, 0) = hashtextextended(k.key, 0) AND d.ordering_key = k.key AND d.holds)
