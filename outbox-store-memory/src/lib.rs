//! OutboxStorage and DeadLetters in memory.
