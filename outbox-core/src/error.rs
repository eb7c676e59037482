//! One error type for every store, heap and processor.

use std::error::Error;
use std::fmt;

/// What a caller may do about an [`OutboxError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend cannot be reached, is busy or took too long. Try again later.
    ///
    /// A call whose reply was lost may have been applied; each method says what may be assumed.
    Unavailable,
    /// The call collided with a concurrent one and was not applied. Try again.
    Conflict,
    /// The event id or the idempotency token is already taken.
    Duplicate,
    /// The caller's mistake. The source names the value and what is allowed.
    Invalid,
    /// Stored data cannot be understood. A person must look.
    Corrupt,
    /// The claim is no longer this caller's; nothing was changed.
    LeaseLost,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
            Self::Corrupt => "corrupt data",
            Self::LeaseLost => "lease lost",
        })
    }
}

/// An error of a store, a heap or a processor.
///
/// It says which backend failed in which operation, and keeps the cause as its
/// [`source`](Error::source). Print the whole chain to a person with [`report`](Self::report).
#[derive(Debug, thiserror::Error)]
#[error("{backend}: {operation}: {kind}")]
pub struct OutboxError {
    kind: ErrorKind,
    backend: &'static str,
    operation: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl OutboxError {
    /// An error of `backend` (such as `"sqlite"`) in `operation` (such as `"settle"`).
    #[must_use]
    pub fn new(kind: ErrorKind, backend: &'static str, operation: &'static str) -> Self {
        Self {
            kind,
            backend,
            operation,
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An [`ErrorKind::Invalid`] that names the value and what is allowed instead.
    #[must_use]
    pub fn invalid(
        backend: &'static str,
        operation: &'static str,
        what: &'static str,
        value: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        Self::new(ErrorKind::Invalid, backend, operation).with_source(InvalidValue {
            what,
            value: value.to_string(),
            allowed: allowed.to_string(),
        })
    }

    /// What the caller may do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The backend that failed, such as `"sqlite"`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The operation that failed, such as `"settle"`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The error and its causes in one line, outermost first.
    #[must_use]
    pub fn report(&self) -> String {
        error_chain(self)
    }
}

/// An error and its causes in one line, outermost first, separated by `": "`. A cause that the error
/// before it has told already is not told again.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    text
}

/// A value that was refused where it entered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what} {value:?} is not allowed: {allowed}")]
pub struct InvalidValue {
    what: &'static str,
    value: String,
    allowed: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_whole_chain() {
        let error = OutboxError::invalid("config", "build", "batch size", 0, "1 to 10000");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!((error.backend(), error.operation()), ("config", "build"));
        assert_eq!(
            error.report(),
            "config: build: invalid: batch size \"0\" is not allowed: 1 to 10000"
        );
    }

    #[test]
    fn a_cause_that_is_told_already_is_not_told_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store failed: {0}")]
        struct Telling(#[source] fmt::Error);

        let error = OutboxError::new(ErrorKind::Unavailable, "x", "open");
        let text = error.with_source(Telling(fmt::Error)).report();
        assert_eq!(
            text,
            format!("x: open: unavailable: the store failed: {}", fmt::Error)
        );
    }
}
