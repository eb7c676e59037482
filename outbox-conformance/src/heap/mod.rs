//! The heap suite.
