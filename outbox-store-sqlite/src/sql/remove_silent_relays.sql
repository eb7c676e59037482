-- R3: removes the relays that were heard before ?1, and those beyond the ?2 that were heard last. Runs in one
-- transaction with report.sql.
DELETE FROM outbox_relays
WHERE heard_at < ?1
   OR id IN (SELECT id FROM outbox_relays ORDER BY heard_at DESC, id LIMIT -1 OFFSET ?2);
