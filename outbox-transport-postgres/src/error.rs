//! What an error of PostgreSQL means to the worker.

use crate::NUMBERS;
use outbox_core::{ErrorKind, OutboxError, PublishError, PublishErrorKind};
use std::error::Error;
use std::io;
use std::time::Duration;

/// How long the worker waits while the disk of the server is full.
const DISK_IS_FULL: Duration = Duration::from_secs(10);

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of its rows was refused.
    Row(PublishError),
    /// None of its rows can be inserted now.
    Call(PublishError),
}

/// Whom an error is about.
#[derive(Debug, PartialEq)]
enum About {
    Row,
    Table,
    Server,
}

impl Failure {
    /// The meaning of the error of a statement that inserts into `destination`.
    pub(crate) fn of(error: OutboxError, destination: &str) -> Self {
        let (about, kind) = meaning(&error);
        let failure = PublishError::new(kind);
        let failure = match about {
            About::Server => failure,
            About::Row | About::Table => failure.with_destination(destination),
        };
        let failure = failure.with_source(explained(error));
        match about {
            About::Row => Self::Row(failure),
            About::Table | About::Server => Self::Call(failure),
        }
    }

    pub(crate) fn into_error(self) -> PublishError {
        match self {
            Self::Row(error) | Self::Call(error) => error,
        }
    }
}

/// A call that took too long.
pub(crate) fn late(time: Duration) -> PublishError {
    let text = format!("the call may have been applied; no answer within {time:?}");
    PublishError::new(PublishErrorKind::Unavailable).with_source(text)
}

/// A statement that a person must make possible.
pub(crate) fn misconfigured(destination: &str, text: String) -> PublishError {
    PublishError::new(PublishErrorKind::Misconfigured)
        .with_destination(destination)
        .with_source(text)
}

fn meaning(error: &OutboxError) -> (About, PublishErrorKind) {
    match error.source().and_then(<dyn Error>::downcast_ref) {
        Some(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default();
            of_sqlstate(&code, error.constraint())
        }
        // The certificate of the server, or one of the files that the URL names.
        Some(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            (About::Server, PublishErrorKind::Misconfigured)
        }
        _ => match error.kind() {
            ErrorKind::Invalid | ErrorKind::Corrupt => {
                (About::Server, PublishErrorKind::Misconfigured)
            }
            _ => (About::Server, PublishErrorKind::Unavailable),
        },
    }
}

fn of_sqlstate(code: &str, constraint: Option<&str>) -> (About, PublishErrorKind) {
    use PublishErrorKind::{Misconfigured, Permanent, Rejected, Throttled, Unavailable};
    match (code.get(..2).unwrap_or_default(), code) {
        // A character that the server's encoding or a JSON value does not have, or a limit of an index.
        (_, "22021" | "22P05") | ("54", _) => (About::Row, Permanent),
        // Each row has all columns of ours, and the numbers of rows are 64 bits wide: the table was
        // changed. Its sequence was set back.
        (_, "23502" | "2200H") => (About::Table, Misconfigured),
        (_, "23505") if constraint == Some(NUMBERS) => (About::Table, Misconfigured),
        // A constraint or a trigger of the application.
        ("21" | "22" | "23" | "44" | "P0", _) => (About::Row, Rejected),
        (_, "53100") => (About::Table, Throttled(DISK_IS_FULL)),
        // Another client of PgBouncer uses the name of a statement.
        (_, "42P05") => (About::Server, Unavailable),
        ("42" | "3F" | "0A", _) | (_, "XX001" | "XX002") => (About::Table, Misconfigured),
        // The login, or the database.
        ("28" | "3D", _) => (About::Server, Misconfigured),
        // Connections (08), a read-only standby (25), deadlocks (40), resources (53), locks (55),
        // shutdown and timeouts (57), the disk (58).
        _ => (About::Server, Unavailable),
    }
}

/// The error with advice, where the driver has none.
fn explained(error: OutboxError) -> OutboxError {
    let source = error.source().and_then(<dyn Error>::downcast_ref);
    let Some(sqlx::Error::Database(database)) = source else {
        return error;
    };
    let advice = match (database.code().as_deref(), database.constraint()) {
        (Some("23505"), Some(NUMBERS)) => {
            "the sequence of the column seq was set back; set it to the greatest seq of outbox_arrived"
        }
        (Some("25006"), _) => "the server is a standby, or read-only by its settings",
        _ => return error,
    };
    let text = format!("{error}; {advice}");
    error.explained(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PublishErrorKind::{Misconfigured, Permanent, Rejected, Throttled, Unavailable};

    #[test]
    fn each_sqlstate_says_whose_fault_it_is() {
        for (code, expected) in [
            ("22021", (About::Row, Permanent)),
            ("22P05", (About::Row, Permanent)),
            ("54000", (About::Row, Permanent)),
            ("22001", (About::Row, Rejected)),
            ("23503", (About::Row, Rejected)),
            ("23505", (About::Row, Rejected)),
            ("23514", (About::Row, Rejected)),
            ("P0001", (About::Row, Rejected)),
            ("23502", (About::Table, Misconfigured)),
            ("42501", (About::Table, Misconfigured)),
            ("42P01", (About::Table, Misconfigured)),
            ("3F000", (About::Table, Misconfigured)),
            ("42P10", (About::Table, Misconfigured)),
            ("28P01", (About::Server, Misconfigured)),
            ("28000", (About::Server, Misconfigured)),
            ("3D000", (About::Server, Misconfigured)),
            ("53100", (About::Table, Throttled(DISK_IS_FULL))),
            ("53200", (About::Server, Unavailable)),
            ("53300", (About::Server, Unavailable)),
            ("08006", (About::Server, Unavailable)),
            ("25006", (About::Server, Unavailable)),
            ("40001", (About::Server, Unavailable)),
            ("40P01", (About::Server, Unavailable)),
            ("42P05", (About::Server, Unavailable)),
            ("26000", (About::Server, Unavailable)),
            ("55P03", (About::Server, Unavailable)),
            ("57014", (About::Server, Unavailable)),
            ("57P01", (About::Server, Unavailable)),
            ("57P03", (About::Server, Unavailable)),
            ("58030", (About::Server, Unavailable)),
            ("XX000", (About::Server, Unavailable)),
            ("", (About::Server, Unavailable)),
        ] {
            assert_eq!(of_sqlstate(code, None), expected, "{code}");
        }
        let behind = of_sqlstate("23505", Some(NUMBERS));
        assert_eq!(behind, (About::Table, Misconfigured));
    }
}
