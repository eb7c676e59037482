//! Compiles.
