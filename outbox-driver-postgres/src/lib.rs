//! What the PostgreSQL adapters share: calls with a time limit, transactions that survive their
//! caller, schemas, migrations, errors.

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
