//! What an error of SeaORM means to a caller.

use outbox_append_postgres::ServerError;
use outbox_core::{ErrorKind, OutboxError};
use sea_orm::{DbBackend, DbErr, RuntimeErr, SqlxError, SqlxPostgresError};

const APPEND: &str = "append";

pub(crate) fn wrong_backend(backend: DbBackend) -> OutboxError {
    let problem = format!("the transaction is one of {backend:?}, but must be one of PostgreSQL");
    OutboxError::invalid("postgres", APPEND, problem)
}

pub(crate) fn explained(error: DbErr) -> OutboxError {
    let of_sqlx = match &error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) => Some(&**error),
        _ => None,
    };
    let of_server = of_sqlx.and_then(SqlxError::as_database_error);
    let found = match of_server.and_then(|error| error.try_downcast_ref::<SqlxPostgresError>()) {
        Some(error) => ServerError {
            code: Some(error.code()),
            message: error.message(),
            detail: error.detail(),
            hint: error.hint(),
            context: error.r#where(),
        }
        .explain(APPEND),
        None => OutboxError::new(kind(of_sqlx), "postgres", APPEND),
    };
    found.with_source(error)
}

/// The kind of an error that is not of the server: values that cannot be sent, or the connection.
fn kind(error: Option<&SqlxError>) -> ErrorKind {
    match error {
        Some(SqlxError::Encode(_)) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}
