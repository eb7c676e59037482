-- The open claims. Their events must not be claimed twice (S3), also if a key was changed by hand.
SELECT token, leased_until, events, keys FROM outbox_claims;
