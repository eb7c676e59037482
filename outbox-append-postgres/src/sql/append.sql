-- Appends events in the caller's transaction, in their order. The arrays are read by index, row by row:
-- FROM unnest($1, $2, …) would first copy each of them. A subquery would take longer to plan, which costs a
-- driver that prepares nothing.
INSERT INTO outbox.outbox_events
       (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
        created_at, available_at)
SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::bytea[]), unnest($4::text[]),
       unnest($5::text[])::json, unnest($6::text[]), unnest($7::text[]),
       unnest($8::timestamptz[]), unnest($9::timestamptz[])
