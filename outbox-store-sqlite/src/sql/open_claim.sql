-- S3: the claim ?1 of ?3 events, leased until ?2.
INSERT INTO outbox_claims (token, leased_until, size) VALUES (?1, ?2, ?3);
