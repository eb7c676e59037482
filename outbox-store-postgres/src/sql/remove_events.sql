-- Deletes unclaimed events of the log. $1 lanes, $2 seqs. Runs under the locks of the lanes.
DELETE FROM outbox.outbox_log AS e
USING unnest($1::smallint[], $2::bigint[]) AS p (lane, seq)
WHERE e.lane = p.lane AND e.seq = p.seq
