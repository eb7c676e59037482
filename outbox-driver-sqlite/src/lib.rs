//! The connection thread that the SQLite adapters share: group commit, migrations, errors.

mod driver;
mod error;
mod job;
mod open;
mod schema;
mod thread;
mod time;
mod watch;

pub use driver::{Driver, DriverOptions};
pub use error::sqlite_error;
pub use open::{inspect, memory_uri};
pub use rusqlite;
pub use schema::{applied_migrations, migrate, migrate_within, require_version};
pub use time::{from_micros, micros};
