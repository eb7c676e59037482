//! What an error of PostgreSQL means to a caller.

use outbox_core::{ErrorKind, OutboxError};

const BACKEND: &str = "postgres";

/// Turns an error of PostgreSQL in `operation` into one that says what the caller may do.
pub fn postgres_error(operation: &'static str) -> impl Fn(sqlx::Error) -> OutboxError {
    move |error| OutboxError::new(kind(&error), BACKEND, operation).with_source(error)
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
    OutboxError::invalid(BACKEND, "open", what, value, allowed)
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
    fn an_error_of_this_side_says_what_the_caller_may_do() {
        assert_eq!(kind(&sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(&sqlx::Error::RowNotFound), ErrorKind::Corrupt);
        let argument = sqlx::Error::InvalidArgument(String::new());
        assert_eq!(kind(&argument), ErrorKind::Invalid);
    }
}
