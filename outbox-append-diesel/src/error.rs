//! What an error of diesel means to a caller.

use crate::{APPEND, BACKEND};
use diesel::connection::TransactionManagerStatus;
use diesel::result::{DatabaseErrorKind, Error};
use outbox_append_postgres::ServerError;
use outbox_core::{ErrorKind, OutboxError};

/// Refuses an append on a connection that is in no transaction, by its
/// [`transaction_manager_status_mut`](diesel::connection::TransactionManager::transaction_manager_status_mut).
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) outside of a transaction. [`Unavailable`](ErrorKind::Unavailable) if a
/// transaction could not be ended, so the connection cannot be used any more.
pub fn refuse_outside(status: &TransactionManagerStatus) -> Result<(), OutboxError> {
    match status.transaction_depth().map_err(explained)? {
        Some(_) => Ok(()),
        None => Err(OutboxError::invalid(
            BACKEND,
            APPEND,
            "append was called outside of a transaction that diesel knows: call it within `transaction` \
             of the connection",
        )),
    }
}

/// The error of an append, with that of diesel as its source.
///
/// diesel gives no SQLSTATE, only its kinds. All that they do not distinguish is
/// [`Unavailable`](ErrorKind::Unavailable), such as a missing privilege or a trigger that refuses the
/// statement; except for missing tables, which an English message names.
#[must_use]
pub fn explained(error: Error) -> OutboxError {
    let found = match &error {
        Error::DatabaseError(kind, parts) => ServerError {
            code: sqlstate(*kind),
            message: parts.message(),
            detail: parts.details(),
            hint: parts.hint(),
            context: None,
        }
        .explain(APPEND),
        // The values are too large to send.
        Error::SerializationError(_) => OutboxError::new(ErrorKind::Invalid, BACKEND, APPEND),
        _ => OutboxError::new(ErrorKind::Unavailable, BACKEND, APPEND),
    };
    found.with_source(error)
}

fn sqlstate(kind: DatabaseErrorKind) -> Option<&'static str> {
    match kind {
        DatabaseErrorKind::UniqueViolation => Some("23505"),
        DatabaseErrorKind::ForeignKeyViolation => Some("23503"),
        DatabaseErrorKind::CheckViolation => Some("23514"),
        DatabaseErrorKind::NotNullViolation => Some("23502"),
        DatabaseErrorKind::RestrictViolation => Some("23001"),
        DatabaseErrorKind::ExclusionViolation => Some("23P01"),
        DatabaseErrorKind::SerializationFailure => Some("40001"),
        DatabaseErrorKind::ReadOnlyTransaction => Some("25006"),
        // A lost connection among them: without a code it is unavailable.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn error(kind: DatabaseErrorKind, message: &str) -> OutboxError {
        explained(Error::DatabaseError(kind, Box::new(message.to_owned())))
    }

    #[test]
    fn each_kind_of_diesel_says_what_the_caller_may_do() {
        use DatabaseErrorKind as Kind;
        for (kind, expected) in [
            (Kind::UniqueViolation, ErrorKind::Duplicate),
            (Kind::ForeignKeyViolation, ErrorKind::Invalid),
            (Kind::CheckViolation, ErrorKind::Invalid),
            (Kind::NotNullViolation, ErrorKind::Invalid),
            (Kind::RestrictViolation, ErrorKind::Invalid),
            (Kind::ExclusionViolation, ErrorKind::Conflict),
            (Kind::SerializationFailure, ErrorKind::Conflict),
            (Kind::ReadOnlyTransaction, ErrorKind::Unavailable),
            (Kind::ClosedConnection, ErrorKind::Unavailable),
            (Kind::UnableToSendCommand, ErrorKind::Unavailable),
            (Kind::Unknown, ErrorKind::Unavailable),
        ] {
            let found = error(kind, "it failed");
            assert_eq!(found.kind(), expected, "{found}");
            assert!(found.source().expect("a source").is::<Error>(), "{found}");
        }
    }

    #[test]
    fn missing_tables_are_recognized_by_their_message() {
        let message = "relation \"outbox.outbox_events\" does not exist";
        let found = error(DatabaseErrorKind::Unknown, message);
        assert_eq!(found.kind(), ErrorKind::Invalid);
        assert!(found.to_string().contains("outbox migrate"), "{found}");
    }

    #[test]
    fn a_value_that_diesel_cannot_send_is_invalid_and_a_broken_connection_unavailable() {
        let large = explained(Error::SerializationError("too large".into()));
        assert_eq!(large.kind(), ErrorKind::Invalid);
        let broken = refuse_outside(&TransactionManagerStatus::InError);
        assert_eq!(broken.expect_err("broken").kind(), ErrorKind::Unavailable);
    }
}
