#![doc = include_str!("../README.md")]

mod component;
mod config;
mod driver;
mod error;
mod job;
mod migrate;
mod open;
mod thread;
mod time;
mod watch;

pub use config::{SqliteConfig, memory_uri};
pub use driver::Driver;
pub use error::sqlite_error;
pub use migrate::Component;
pub use rusqlite;
pub use time::{from_micros, interval, micros};
