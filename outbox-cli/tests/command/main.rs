//! Real runs of the command.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

mod bad_input;
mod blocked_keys;
mod brokers;
mod changes;
mod configuration;
mod dead_letters;
mod destinations;
mod doctor;
mod ends;
mod faults;
mod health;
mod heap;
mod json_logs;
mod limits;
mod migrate;
mod newcomer;
mod outputs;
mod postgres;
mod redis;
mod settings;
mod stores;
mod support;
#[cfg(unix)]
mod systemd;
mod traces;
mod who_is_there;
