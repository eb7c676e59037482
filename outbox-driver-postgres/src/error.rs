//! What an error of PostgreSQL means to a caller.

use outbox_core::{ErrorKind, OutboxError};

const BACKEND: &str = "postgres";

/// Turns an error of PostgreSQL in `operation` into one that says what the caller may do.
pub fn postgres_error(operation: &'static str) -> impl Fn(sqlx::Error) -> OutboxError {
    move |error| OutboxError::new(kind(&error), BACKEND, operation).with_source(error)
}

/// Whether the connection on which this happened must not be used again: it is broken, or leads to
/// a server that is the wrong one or is going away, or its prepared statements are stale.
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

/// Whether the error is about the values of the call, a right, or a lock or a resource at this moment:
/// another connection would answer the same.
fn is_about_the_call(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "21" | "22" | "23" | "40" | "53" | "54" | "P0")
        || matches!(code, "42501" | "55006" | "55P03" | "57014")
}

/// Whether a statement could not be prepared or was not found: another client of the same server
/// connection has the name.
pub(crate) fn is_name_of_others(error: &OutboxError) -> bool {
    let code = source(error).and_then(sqlstate);
    matches!(code.as_deref(), Some("42P05" | "26000"))
}

/// The error, with what to do about it if statements of others show that a proxy in transaction mode
/// is in between and the driver does not expect it.
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

/// An error that this crate found by itself, in words.
pub(crate) fn refusal(
    kind: ErrorKind,
    operation: &'static str,
    text: impl Into<String>,
) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation).with_source(text.into())
}

/// A value that is refused, and what is allowed instead.
pub(crate) fn invalid(what: &'static str, value: &str, allowed: &str) -> OutboxError {
    OutboxError::invalid(
        BACKEND,
        "open",
        format!("{what} is {value:?}, but must be {allowed}"),
    )
}

/// The five characters by which PostgreSQL names an error; none for one of this side.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    if let Some(code) = sqlstate(error) {
        return kind_of_sqlstate(&code);
    }
    match error {
        sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::Tls(_) => ErrorKind::Invalid,
        // A row that is not what the statement promises: the tables are not what was migrated.
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        // The network, the pool: all may pass.
        _ => ErrorKind::Unavailable,
    }
}

fn kind_of_sqlstate(code: &str) -> ErrorKind {
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "23505") => ErrorKind::Duplicate,
        // Another transaction was in the way: a key, a serialization, a deadlock.
        (_, "23503" | "23P01") | ("40", _) => ErrorKind::Conflict,
        // A right, a login, a database, a schema or a name is the caller's to mend.
        (_, "42501" | "42602" | "42622" | "42939")
        | ("22" | "23" | "28" | "3D" | "3F" | "54", _) => ErrorKind::Invalid,
        // A name that another client of PgBouncer has taken on this connection: another may do.
        (_, "42P05") => ErrorKind::Unavailable,
        // A statement that does not fit the tables: they are not what was migrated.
        ("42", _) | (_, "XX001" | "XX002") => ErrorKind::Corrupt,
        // Connections (08), resources (53), shutdown and timeouts (57), the disk (58), a standby
        // that only reads (25): all may pass.
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_says_what_the_caller_may_do() {
        for (code, kind) in [
            ("23505", ErrorKind::Duplicate),
            ("23514", ErrorKind::Invalid),
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("42501", ErrorKind::Invalid),
            ("28P01", ErrorKind::Invalid),
            ("3D000", ErrorKind::Invalid),
            ("42P01", ErrorKind::Corrupt),
            ("42P05", ErrorKind::Unavailable),
            ("XX001", ErrorKind::Corrupt),
            ("08006", ErrorKind::Unavailable),
            ("25006", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("55P03", ErrorKind::Unavailable),
            ("57P01", ErrorKind::Unavailable),
            ("", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of_sqlstate(code), kind, "{code}");
        }
    }

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
    fn an_error_of_this_side_says_what_the_caller_may_do() {
        assert_eq!(kind(&sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(&sqlx::Error::RowNotFound), ErrorKind::Corrupt);
        let argument = sqlx::Error::InvalidArgument(String::new());
        assert_eq!(kind(&argument), ErrorKind::Invalid);
    }
}
