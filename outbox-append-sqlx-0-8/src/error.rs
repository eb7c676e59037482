//! What an error of the driver means to a caller.

use outbox_append_postgres::ServerError;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::postgres::PgDatabaseError;

const APPEND: &str = "append";

pub(crate) fn explained(error: sqlx::Error) -> OutboxError {
    let of_server = error.as_database_error();
    let found = match of_server.and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(error) => ServerError {
            code: Some(error.code()),
            message: error.message(),
            detail: error.detail(),
            hint: error.hint(),
            context: error.r#where(),
        }
        .explain(APPEND),
        None => OutboxError::new(kind(&error), "postgres", APPEND),
    };
    found.with_source(error)
}

/// The kind of an error that is not of the server: values that cannot be sent, or the connection.
fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Encode(_) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}
