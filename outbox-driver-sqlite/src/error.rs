//! What an error of SQLite means to a caller.

use outbox_core::{ErrorKind, OutboxError};
use rusqlite::ErrorCode;

pub(crate) const BACKEND: &str = "sqlite";

/// Turns an error of SQLite in `operation` into one that says what the caller may do.
pub fn sqlite_error(operation: &'static str) -> impl Fn(rusqlite::Error) -> OutboxError {
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

pub(crate) fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => ErrorKind::Conflict,
        Some(ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange) => {
            ErrorKind::Invalid
        }
        // Unknown: a statement that does not fit the tables, so they are not what was migrated.
        // None: raised on this side, for a column of an unexpected type.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
            ErrorKind::Corrupt
        }
        // Busy, locked, full, read-only, input or output: all may pass.
        Some(_) => ErrorKind::Unavailable,
    }
}
