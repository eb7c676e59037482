//! What the PostgreSQL adapters share: calls with a time limit, transactions that survive their
//! caller, schemas, migrations, errors.

mod driver;
mod error;
mod lent;
mod migrate;
mod schema;
mod value;

pub use driver::{Driver, DriverOptions};
pub use error::postgres_error;
pub use schema::Schema;
pub use sqlx;
pub use value::{PgTime, PgUuid, interval};
