//! Finds or starts the servers that tests need.
