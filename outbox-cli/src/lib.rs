//! The outbox command.
