-- S3: the claim ?1 of ?4 events, leased until ?2, which is ?3 from now, with the events ?5 and the keys ?6.
INSERT INTO outbox_claims (token, leased_until, lease, size, events, keys)
VALUES (?1, ?2, ?3, ?4, ?5, ?6);
