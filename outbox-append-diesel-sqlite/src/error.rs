//! What an error of diesel means to a caller.

use diesel::connection::TransactionManagerStatus;
use diesel::result::{DatabaseErrorKind, Error};
use outbox_append_sqlite::SqliteError;
use outbox_core::{ErrorKind, OutboxError};

const BACKEND: &str = "sqlite";
const APPEND: &str = "append";

/// Refuses an append on a connection that is in no transaction.
pub(crate) fn refuse_outside(status: &TransactionManagerStatus) -> Result<(), OutboxError> {
    match status.transaction_depth().map_err(explained)? {
        Some(_) => Ok(()),
        None => Err(OutboxError::invalid(
            BACKEND,
            APPEND,
            "append was called outside of a transaction that diesel knows: call it within \
             `immediate_transaction` of the connection",
        )),
    }
}

pub(crate) fn explained(error: Error) -> OutboxError {
    let found = match &error {
        Error::DatabaseError(kind, parts) => SqliteError {
            code: result_code(*kind),
            message: parts.message(),
        }
        .explain(),
        // A value that cannot be sent.
        Error::SerializationError(_) => OutboxError::new(ErrorKind::Invalid, BACKEND, APPEND),
        _ => OutboxError::new(ErrorKind::Unavailable, BACKEND, APPEND),
    };
    found.with_source(error)
}

/// The extended result codes of SQLite that diesel distinguishes.
fn result_code(kind: DatabaseErrorKind) -> Option<i32> {
    match kind {
        DatabaseErrorKind::UniqueViolation => Some(2067),
        DatabaseErrorKind::ForeignKeyViolation => Some(787),
        DatabaseErrorKind::CheckViolation => Some(275),
        DatabaseErrorKind::NotNullViolation => Some(1299),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_diesel_says_what_the_caller_may_do() {
        use DatabaseErrorKind as Kind;
        for (kind, expected) in [
            (Kind::UniqueViolation, ErrorKind::Duplicate),
            (Kind::ForeignKeyViolation, ErrorKind::Conflict),
            (Kind::CheckViolation, ErrorKind::Conflict),
            (Kind::NotNullViolation, ErrorKind::Conflict),
            (Kind::Unknown, ErrorKind::Unavailable),
        ] {
            let found = explained(Error::DatabaseError(kind, Box::new("refused".to_owned())));
            assert_eq!(found.kind(), expected, "{found}");
        }
    }

    #[test]
    fn a_value_that_diesel_cannot_send_is_invalid_and_a_broken_connection_unavailable() {
        let large = explained(Error::SerializationError("too large".into()));
        assert_eq!(large.kind(), ErrorKind::Invalid);
        let broken = refuse_outside(&TransactionManagerStatus::InError);
        assert_eq!(broken.expect_err("broken").kind(), ErrorKind::Unavailable);
    }
}
