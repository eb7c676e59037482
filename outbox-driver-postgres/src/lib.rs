#![doc = include_str!("../README.md")]

mod component;
mod config;
mod driver;
mod error;
mod lent;
mod migrate;
mod recorded;
mod schema;
mod server;
mod value;

pub use config::PostgresConfig;
pub use driver::Driver;
pub use error::postgres_error;
pub use migrate::Component;
pub use outbox_append_postgres::Schema;
pub use schema::SchemaSql;
pub use sqlx;
pub use value::{PgTime, PgUuid, interval};
