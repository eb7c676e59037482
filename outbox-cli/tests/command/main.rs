//! Real runs of the command.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

mod bad_input;
mod blocked_keys;
mod brokers;
mod changes;
mod dead_letters;
mod destinations;
mod ends;
mod heap;
mod migrate;
mod newcomer;
mod outputs;
mod postgres;
mod redis;
mod settings;
mod support;
