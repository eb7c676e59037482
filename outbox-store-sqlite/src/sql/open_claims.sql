-- The open claims. Their events must not be claimed twice (S3), also if a key was changed by hand.
SELECT leased_until, events FROM outbox_claims;
