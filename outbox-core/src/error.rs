//! One error type for every store, heap and processor.

use std::error::Error;
use std::fmt;

/// What a caller may do about an [`OutboxError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend cannot be reached, is busy or took too long. Try again later.
    ///
    /// If the reply was lost, the call may have been applied; each method documents this.
    Unavailable,
    /// The call conflicted with a concurrent call and was not applied. Try again.
    Conflict,
    /// The event id or the idempotency token is already taken.
    Duplicate,
    /// A mistake of the caller. The source states the wrong value and what it must be.
    Invalid,
    /// Stored data cannot be read. An operator must look at it.
    Corrupt,
    /// Another worker took the claim over, or it is settled. Nothing was changed.
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
/// It names the backend that failed and the operation, which is the name of the trait's method. Its
/// text has all its causes, so `to_string()` is enough for a log. The cause is also kept as the
/// [`source`](Error::source), for programs that look for a driver's own error.
///
/// ```
/// # use outbox_core::{ErrorKind, OutboxConfig};
/// let error = OutboxConfig::builder().batch_size(0).build().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(
///     error.to_string(),
///     "config: build: invalid: batch size is 0, but must be 1 to 10000"
/// );
/// ```
#[derive(Debug)]
pub struct OutboxError {
    kind: ErrorKind,
    backend: &'static str,
    operation: &'static str,
    explanation: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.backend, self.operation, self.kind)?;
        match (&self.explanation, &self.source) {
            (Some(text), _) => write!(f, ": {text}"),
            (None, Some(source)) => write!(f, ": {}", error_chain(source.as_ref())),
            (None, None) => Ok(()),
        }
    }
}

impl Error for OutboxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

impl OutboxError {
    /// An error of `backend` (such as `"sqlite"`) in `operation` (such as `"settle"`).
    #[must_use]
    pub fn new(kind: ErrorKind, backend: &'static str, operation: &'static str) -> Self {
        Self {
            kind,
            backend,
            operation,
            explanation: None,
            source: None,
        }
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Prints `text` instead of the texts of the causes: what went wrong, and what to do about it.
    #[must_use]
    pub fn explained(mut self, text: impl Into<String>) -> Self {
        self.explanation = Some(text.into());
        self
    }

    /// An [`ErrorKind::Invalid`]. `problem` names the wrong value and what it must be: `batch size
    /// is 0, but must be 1 to 10000`.
    #[must_use]
    pub fn invalid(
        backend: &'static str,
        operation: &'static str,
        problem: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Invalid, backend, operation).with_source(problem.into())
    }

    /// What a caller may do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether an operator must act before a later attempt can succeed.
    pub(crate) fn needs_operator(&self) -> bool {
        matches!(self.kind, ErrorKind::Invalid | ErrorKind::Corrupt)
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
}

/// An error and its causes in one line, outermost first, separated by `": "`. A cause whose text
/// ends the text before it is not repeated.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_whole_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot bind")]
        struct Outer(#[source] fmt::Error);

        let error =
            OutboxError::new(ErrorKind::Unavailable, "x", "open").with_source(Outer(fmt::Error));
        let expected = format!("x: open: unavailable: cannot bind: {}", fmt::Error);
        assert_eq!(error.to_string(), expected);
        let source = error.source().and_then(Error::source).expect("both causes");
        assert!(source.is::<fmt::Error>());
    }

    #[test]
    fn a_cause_that_repeats_the_text_before_it_is_left_out() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store failed: {0}")]
        struct Repeating(#[source] fmt::Error);

        let error = OutboxError::new(ErrorKind::Unavailable, "x", "open")
            .with_source(Repeating(fmt::Error));
        let expected = format!("x: open: unavailable: the store failed: {}", fmt::Error);
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_explanation_replaces_the_texts_of_the_causes_and_keeps_the_causes() {
        let error = OutboxError::new(ErrorKind::Invalid, "x", "open").with_source(fmt::Error);
        let error = error.explained("the table is missing: run `outbox migrate`");
        assert_eq!(
            error.to_string(),
            "x: open: invalid: the table is missing: run `outbox migrate`"
        );
        let source = error.source().expect("the cause");
        assert!(source.is::<fmt::Error>());
    }

    #[test]
    fn an_invalid_value_is_named_with_what_it_must_be() {
        let error =
            OutboxError::invalid("config", "build", "batch size is 0, but must be 1 to 10000");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!((error.backend(), error.operation()), ("config", "build"));
        assert_eq!(
            error.to_string(),
            "config: build: invalid: batch size is 0, but must be 1 to 10000"
        );
    }
}
