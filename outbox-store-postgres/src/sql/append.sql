-- Events of the caller's transaction, in their order.
INSERT INTO outbox.outbox_events
       (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
        created_at, available_at)
SELECT id, event_type, payload, content_type, headers::json, ordering_key, idempotency_token,
       created_at, available_at
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::timestamptz[], $9::timestamptz[])
     WITH ORDINALITY AS e (id, event_type, payload, content_type, headers, ordering_key,
                           idempotency_token, created_at, available_at, place)
ORDER BY place
