-- Appends events in the caller's transaction, in their order. The arrays are read by index, row by row:
-- FROM unnest($1, $2, …) would first copy each of them.
INSERT INTO outbox.outbox_events
       (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
        created_at, available_at)
SELECT id, event_type, payload, content_type, headers::json, ordering_key, idempotency_token,
       created_at, available_at
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS event_type,
             unnest($3::bytea[]) AS payload, unnest($4::text[]) AS content_type,
             unnest($5::text[]) AS headers, unnest($6::text[]) AS ordering_key,
             unnest($7::text[]) AS idempotency_token, unnest($8::timestamptz[]) AS created_at,
             unnest($9::timestamptz[]) AS available_at) AS e
