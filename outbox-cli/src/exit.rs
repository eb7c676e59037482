//! How a command ends: 0 as asked, 1 failed, 2 bad input.

use outbox_core::{ErrorKind, OutboxError};
use std::fmt::Display;

/// Why a command ends with another code than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The work was begun and could not be done.
pub(crate) fn failed(text: impl Display) -> Failure {
    Failure {
        code: 1,
        text: text.to_string(),
    }
}

/// The caller's mistake; nothing was done.
pub(crate) fn bad_input(text: impl Display) -> Failure {
    Failure {
        code: 2,
        text: text.to_string(),
    }
}

impl From<OutboxError> for Failure {
    fn from(error: OutboxError) -> Self {
        let code = if error.kind() == ErrorKind::Invalid {
            2
        } else {
            1
        };
        Self {
            code,
            text: error.report(),
        }
    }
}
