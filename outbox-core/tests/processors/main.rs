//! The processors on scripted stores, brokers and heaps, by tokio's paused clock.
#![cfg(feature = "dlq")]

mod fakes;
mod idle;
mod log;
mod logs;
mod observers;
mod options;
mod shared;
mod traces;
