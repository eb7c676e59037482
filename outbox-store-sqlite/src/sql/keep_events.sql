-- S22: the claim ?1 has only the events ?2 from now on. Each of their keys has a row.
UPDATE outbox_claims SET events = ?2, keys = x'' WHERE token = ?1;
