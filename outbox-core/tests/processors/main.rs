//! The processors on scripted stores, brokers and heaps, by tokio's paused clock.
#![cfg(feature = "dlq")]

mod fakes;
mod log;
mod logs;
mod options;
mod shared;
