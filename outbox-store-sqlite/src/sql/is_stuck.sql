-- S13: whether "no work" may be wrong, because rows were deleted by hand: the cursor has no row, a key
-- belongs to a claim that does not exist, or events before the cursor remain although neither a key nor a
-- claim exists.
SELECT NOT EXISTS (SELECT 1 FROM outbox_cursor)
    OR EXISTS (SELECT 1 FROM outbox_keys WHERE token IS NOT NULL
                 AND token NOT IN (SELECT token FROM outbox_claims))
    OR (NOT EXISTS (SELECT 1 FROM outbox_keys)
        AND NOT EXISTS (SELECT 1 FROM outbox_claims)
        AND EXISTS (SELECT 1 FROM outbox_events
                    WHERE seq <= (SELECT position FROM outbox_cursor)));
