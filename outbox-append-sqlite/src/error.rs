//! What an error of SQLite means to a caller.

use crate::{APPEND, BACKEND};
use outbox_core::{ErrorKind, OutboxError};

/// An error that SQLite returned for an append.
///
/// ```
/// # use outbox_append_sqlite::SqliteError;
/// # use outbox_core::ErrorKind;
/// let error = SqliteError { code: Some(1), message: "no such table: outbox_events" };
/// let error = error.explain().with_source("the error of the driver");
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(error.to_string().contains("outbox migrate"));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SqliteError<'e> {
    /// The extended result code. If it is unknown, only a taken token and a missing table are recognized, by
    /// their messages.
    pub code: Option<i32>,
    /// What went wrong.
    pub message: &'e str,
}

impl SqliteError<'_> {
    /// The error of `append`, with what the caller may do about it. Add the error of the driver with
    /// [`with_source`](OutboxError::with_source).
    #[must_use]
    pub fn explain(&self) -> OutboxError {
        if let Some(table) = self.missing_table() {
            let text = format!(
                "the table {table} does not exist; run `outbox migrate` or call `SqliteStore::migrate`"
            );
            return OutboxError::new(ErrorKind::Invalid, BACKEND, APPEND).explained(text);
        }
        let text = match self.code {
            Some(code) => format!("{} (result code {code})", self.message),
            None => self.message.to_owned(),
        };
        OutboxError::new(self.kind(), BACKEND, APPEND).explained(text)
    }

    /// A table of ours that does not exist. Triggers name the schema, too.
    fn missing_table(&self) -> Option<&str> {
        let table = self.message.strip_prefix("no such table: ")?;
        let table = table.strip_prefix("main.").unwrap_or(table);
        table.starts_with("outbox_").then_some(table)
    }

    fn kind(&self) -> ErrorKind {
        if self.message.starts_with("outbox: duplicate") {
            return ErrorKind::Duplicate;
        }
        let Some(code) = self.code else {
            return ErrorKind::Unavailable;
        };
        // The lowest byte is the primary code.
        match (code & 0xff, code) {
            // SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY
            (_, 2067 | 1555) => ErrorKind::Duplicate,
            // SQLITE_CONSTRAINT: a check of the tables, or a trigger, refuses the row.
            (19, _) => ErrorKind::Conflict,
            // SQLITE_TOOBIG, SQLITE_MISMATCH, SQLITE_RANGE
            (18 | 20 | 25, _) => ErrorKind::Invalid,
            // SQLITE_ERROR, SQLITE_CORRUPT, SQLITE_NOTADB: the tables are not as they were migrated.
            (1 | 11 | 26, _) => ErrorKind::Corrupt,
            // Busy, locked, full, read-only, input or output: all of them may pass.
            _ => ErrorKind::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: impl Into<Option<i32>>, message: &str) -> ErrorKind {
        let code = code.into();
        SqliteError { code, message }.explain().kind()
    }

    #[test]
    fn each_result_code_says_what_the_caller_may_do() {
        for (code, expected) in [
            (2067, ErrorKind::Duplicate),
            (1555, ErrorKind::Duplicate),
            (275, ErrorKind::Conflict),
            (1811, ErrorKind::Conflict),
            (18, ErrorKind::Invalid),
            (1, ErrorKind::Corrupt),
            (26, ErrorKind::Corrupt),
            (5, ErrorKind::Unavailable),
            (517, ErrorKind::Unavailable),
            (13, ErrorKind::Unavailable),
            (8, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(code, "refused"), expected, "{code}");
        }
        assert_eq!(kind(None, "database is locked"), ErrorKind::Unavailable);
    }

    #[test]
    fn a_taken_token_is_recognized_by_its_message() {
        let taken = "outbox: duplicate idempotency token";
        assert_eq!(kind(1811, taken), ErrorKind::Duplicate);
        assert_eq!(kind(None, taken), ErrorKind::Duplicate);
    }

    #[test]
    fn only_missing_tables_of_ours_call_for_a_migration() {
        for ours in ["outbox_events", "main.outbox_tokens"] {
            assert_eq!(
                kind(1, &format!("no such table: {ours}")),
                ErrorKind::Invalid
            );
        }
        assert_eq!(kind(1, "no such table: orders"), ErrorKind::Corrupt);
    }
}
