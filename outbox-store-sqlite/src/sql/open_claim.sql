-- S3: the claim ?1 of the events ?4, leased until ?2, which is ?3 from now.
INSERT INTO outbox_claims (token, leased_until, lease, events) VALUES (?1, ?2, ?3, ?4);
