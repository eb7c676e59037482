-- The lanes of a restored log are read from its first row. Claims that were open when the dump was
-- made end.
UPDATE outbox.outbox_lanes
SET seen = '1:1:', seen_xid = '0', window_end = NULL, window_xid = NULL, position = 0, top = 0,
    turn = pg_current_xact_id(), token = NULL, leased_until = NULL, reads = 0, held = NULL
