-- Transactions that were prepared (PREPARE TRANSACTION) ten minutes ago and are neither committed nor rolled
-- back.
SELECT gid, extract(epoch FROM now() - prepared)::float8
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < now() - interval '10 minutes'
ORDER BY prepared
LIMIT 5
