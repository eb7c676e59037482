-- Identifies the server: its start time, and whether it is a standby.
SELECT concat(pg_postmaster_start_time(), ' ', pg_is_in_recovery())
