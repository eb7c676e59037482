//! OutboxStorage and DeadLetters on SQLite.
