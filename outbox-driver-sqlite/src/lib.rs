//! The connection thread that the SQLite adapters share.
