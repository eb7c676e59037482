-- The claims that are open, for what must not be claimed twice (S3) although its key was changed.
SELECT leased_until, events FROM outbox_claims;
