-- Inserts events in their order, and leaves out those that are there. Atomic: one statement, so all rows
-- arrive or none (T2), and a call that is dropped leaves no transaction open (T12). The arrays are read row
-- by row, so the rows get their numbers in the order of the call (T7). Only a conflict of the id is a
-- duplicate: one of seq is an error, because the event would be lost.
INSERT INTO outbox.outbox_arrived
       (id, created_at, event_type, content_type, ordering_key, headers, payload)
SELECT id, created_at, event_type, content_type, ordering_key, headers::jsonb, payload
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::timestamptz[]) AS created_at,
             unnest($3::text[]) AS event_type, unnest($4::text[]) AS content_type,
             unnest($5::text[]) AS ordering_key, unnest($6::text[]) AS headers,
             unnest($7::bytea[]) AS payload) AS e
ON CONFLICT (id) DO NOTHING
