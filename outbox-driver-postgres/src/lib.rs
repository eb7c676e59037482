//! Shared code of the PostgreSQL adapters: calls with a timeout, transactions that are safe to cancel,
//! schemas, migrations and errors.

mod component;
mod config;
mod driver;
mod error;
mod lent;
mod migrate;
mod schema;
mod value;

pub use component::Component;
pub use config::PostgresConfig;
pub use driver::Driver;
pub use error::postgres_error;
pub use schema::Schema;
pub use sqlx;
pub use value::{PgTime, PgUuid, interval};
