//! What an error of PostgreSQL means to a caller.

use outbox_append_postgres::ServerError;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

const BACKEND: &str = "postgres";

/// Turns an error of PostgreSQL in `operation` into one that says what the caller may do.
///
/// The text is that of the server, without the values of the row, which may be large or secret.
pub fn postgres_error(operation: &'static str) -> impl Fn(sqlx::Error) -> OutboxError {
    move |error| {
        let found = match error.as_database_error() {
            Some(error) => of_server(error, operation),
            None => OutboxError::new(kind(&error), BACKEND, operation),
        };
        found.with_source(error)
    }
}

fn of_server(error: &dyn DatabaseError, operation: &'static str) -> OutboxError {
    let (code, postgres) = (error.code(), error.try_downcast_ref::<PgDatabaseError>());
    let error = ServerError {
        code: code.as_deref(),
        message: error.message(),
        detail: postgres.and_then(PgDatabaseError::detail),
        hint: postgres.and_then(PgDatabaseError::hint),
        context: postgres.and_then(PgDatabaseError::r#where),
    };
    error.explain(operation)
}

/// Whether the connection must not be used again: it is broken, or leads to the wrong server or to one
/// that shuts down, or its prepared statements are stale.
pub(crate) fn is_unfit(error: &OutboxError) -> bool {
    match source(error) {
        Some(sqlx::Error::Database(error)) => {
            !error.code().is_some_and(|code| is_about_the_call(&code))
        }
        Some(
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed,
        ) => true,
        _ => false,
    }
}

/// Whether the error is about the values of the call, a privilege, a lock or a resource, so that another
/// connection would return it too.
fn is_about_the_call(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "21" | "22" | "23" | "40" | "53" | "54" | "P0")
        || matches!(code, "42501" | "55006" | "55P03" | "57014")
}

/// Whether a statement could not be prepared or was not found, because another client of the same server
/// connection uses its name.
pub(crate) fn is_name_of_others(error: &OutboxError) -> bool {
    let code = source(error).and_then(sqlstate);
    matches!(code.as_deref(), Some("42P05" | "26000"))
}

/// The error, or one that says what to do if prepared statements of other clients show that there is a
/// proxy in transaction mode which the driver does not expect.
pub(crate) fn without_option(error: OutboxError, is_expected: bool) -> OutboxError {
    if is_expected || !is_name_of_others(&error) {
        return error;
    }
    let text = "the connection has prepared statements of another client, as through PgBouncer in \
                transaction mode; set PostgresConfig::through_pgbouncer";
    OutboxError::new(ErrorKind::Invalid, BACKEND, error.operation()).with_source(text)
}

fn source(error: &OutboxError) -> Option<&sqlx::Error> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref()
}

/// An error that this crate found itself.
pub(crate) fn refusal(
    kind: ErrorKind,
    operation: &'static str,
    text: impl Into<String>,
) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation).with_source(text.into())
}

/// The five characters by which PostgreSQL names an error. None if the error is not of the server.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

/// The kind of an error that is not of the server.
fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::Tls(_) => ErrorKind::Invalid,
        // A row that does not fit the statement: the tables are not those of the migrations.
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        // The network or the pool: a later call may succeed.
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_wrong_server_makes_the_connection_unfit() {
        let about = |code: &&str| is_about_the_call(code);
        let wrong = [
            "25006", "57P01", "57P02", "57P03", "57P04", "57P05", "08006", "08P01", "26000",
            "42P05", "42P01", "3D000", "0A000", "XX000", "55000", "",
        ];
        assert_eq!(wrong.iter().filter(|code| about(code)).count(), 0);
        let call = [
            "23505", "22003", "40001", "42501", "53100", "55P03", "57014",
        ];
        assert!(call.iter().all(about));
    }

    #[test]
    fn an_error_without_a_sqlstate_says_what_the_caller_may_do() {
        assert_eq!(kind(&sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(&sqlx::Error::RowNotFound), ErrorKind::Corrupt);
        let argument = sqlx::Error::InvalidArgument(String::new());
        assert_eq!(kind(&argument), ErrorKind::Invalid);
    }
}
