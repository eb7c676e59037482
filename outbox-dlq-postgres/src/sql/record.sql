-- H1, H3, H7, H10, H11: counts one failure of each of the ids $1, with the errors $2.
-- Atomic: one upsert, which waits for a row that another call has locked, and adds to its newest count.
-- Repeated ids are grouped first. Like every statement here that waits for several rows, it locks them in
-- the order of their ids, so two batches never deadlock.
INSERT INTO outbox.outbox_dlq_heap AS heap
    (event_id, failure_count, last_error, first_failed_at, last_failed_at)
SELECT id, least(count(*), 4294967295),
       (array_agg(error ORDER BY place DESC) FILTER (WHERE error IS NOT NULL))[1], now(), now()
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS failure (id, error, place)
GROUP BY id
ORDER BY id
ON CONFLICT (event_id) DO UPDATE SET
    failure_count = least(heap.failure_count + excluded.failure_count, 4294967295),
    last_error = coalesce(excluded.last_error, heap.last_error),
    last_failed_at = greatest(heap.last_failed_at, excluded.last_failed_at)
