-- Which server this is, and whether it is a standby: another one started at another moment.
SELECT concat(pg_postmaster_start_time(), ' ', pg_is_in_recovery())
