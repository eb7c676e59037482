//! What the SQLite adapters share: a thread with one connection, group commit, migrations, errors.

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

pub use component::Component;
pub use config::{SqliteConfig, memory_uri};
pub use driver::Driver;
pub use error::sqlite_error;
pub use rusqlite;
pub use time::{from_micros, interval, micros};
