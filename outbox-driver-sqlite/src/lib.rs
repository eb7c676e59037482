#![doc = include_str!("../README.md")]

mod changes;
mod component;
mod config;
mod driver;
mod error;
mod job;
mod lookout;
mod migrate;
mod open;
mod recorded;
mod thread;
mod time;
mod watch;

pub use changes::Changes;
pub use config::{SqliteConfig, memory_uri};
pub use driver::Driver;
pub use error::sqlite_error;
pub use migrate::Component;
pub use outbox_append_sqlite::micros;
pub use rusqlite;
pub use time::{from_micros, interval};
