//! Whole-system tests across backends.
