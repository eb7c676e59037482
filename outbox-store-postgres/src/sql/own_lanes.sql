-- S12: how many lanes the claims $1 have. A lane whose lease is over can be taken over.
SELECT count(*) FROM outbox.outbox_newest WHERE token = ANY ($1) AND leased_until > now()
