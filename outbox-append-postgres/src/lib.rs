#![doc = include_str!("../README.md")]

mod error;
mod insert;
mod schema;
mod time;

pub use error::ServerError;
pub use insert::{Bind, Insert, insert, statements};
pub use schema::Schema;
pub use time::{EPOCH, micros};

/// The name of the backend in the errors.
const BACKEND: &str = "postgres";
