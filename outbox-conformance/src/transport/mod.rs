//! The transport suite.
