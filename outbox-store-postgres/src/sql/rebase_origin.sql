-- The tables belong to this cluster now.
UPDATE outbox.outbox_origin
SET system_identifier = (SELECT system_identifier FROM pg_control_system())
