//! Errors of SQLite as errors that say what the caller may do.

use outbox_core::{ErrorKind, OutboxError};
use rusqlite::{Error, ErrorCode};

pub(crate) const BACKEND: &str = "sqlite";

/// Turns an error of SQLite in `operation` into one that says what the caller may do.
pub fn sqlite_error(operation: &'static str) -> impl Fn(Error) -> OutboxError {
    move |error| match not_migrated(&error) {
        Some(text) => refusal(ErrorKind::Invalid, operation, text),
        None => OutboxError::new(kind(&error), BACKEND, operation).with_source(error),
    }
}

/// An error that this crate found, with its text.
pub(crate) fn refusal(
    kind: ErrorKind,
    operation: &'static str,
    text: impl Into<String>,
) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation).with_source(text.into())
}

/// What to do about an error that says that one of our tables does not exist.
fn not_migrated(error: &Error) -> Option<String> {
    let (Error::SqlInputError { msg, .. } | Error::SqliteFailure(_, Some(msg))) = error else {
        return None;
    };
    // Triggers name the schema, too.
    let table = msg.strip_prefix("no such table: ")?;
    let table = table.strip_prefix("main.").unwrap_or(table);
    let (option, adapter) = match table {
        "outbox_dlq_heap" => ("", "SqliteDlqHeap"),
        "outbox_inbox" => (" --inbox", "SqliteInbox"),
        _ if table.starts_with("outbox_") => ("", "SqliteStore"),
        _ => return None,
    };
    Some(format!(
        "the table {table} does not exist; run `outbox migrate{option}` or call `{adapter}::migrate`"
    ))
}

pub(crate) fn kind(error: &Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => ErrorKind::Conflict,
        Some(ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange) => {
            ErrorKind::Invalid
        }
        // Unknown: a statement that does not fit the tables, so they are not as they were migrated.
        // None: an error of rusqlite, for a column of an unexpected type.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
            ErrorKind::Corrupt
        }
        // Busy, locked, full, read-only, input or output: all of them may pass.
        Some(_) => ErrorKind::Unavailable,
    }
}
