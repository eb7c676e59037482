-- The end of a lease of $1 that starts with this transaction.
SELECT now() + $1::interval
