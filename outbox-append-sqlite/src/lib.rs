#![doc = include_str!("../README.md")]

mod error;
mod row;
mod time;

pub use error::SqliteError;
pub use row::{INSERT, Row, rows};
pub use time::micros;

/// The name of the backend in the errors.
const BACKEND: &str = "sqlite";
const APPEND: &str = "append";
