-- R4: up to ?1 open claims, the one whose lease ends first first.
SELECT token, length(events) / 24, leased_until FROM outbox_claims ORDER BY leased_until, token LIMIT ?1;
