//! One call in the queue: its closure, its result, and the sender of the answer.

use crate::error::{BACKEND, refusal};
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::Connection;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Whether a job reads or writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
    /// A write whose commit does not wait for the disk.
    UnsyncedWrite,
    /// The same, which is no change for those who wait for one.
    QuietWrite,
}

/// Why a transaction failed, for each of its jobs.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    cause: Cause,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let cause = Cause(Arc::from(cause.into()));
        Self { kind, cause }
    }

    fn of(&self, operation: &'static str) -> OutboxError {
        OutboxError::new(self.kind, BACKEND, operation).with_source(self.cause.clone())
    }
}

/// An error that several calls report. Its source is the error itself.
#[derive(Clone, Debug)]
struct Cause(Arc<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// A [`Task`] without its types.
pub(crate) trait Job: Send {
    fn access(&self) -> Access;

    /// When the call times out.
    fn deadline(&self) -> Instant;

    /// Whether the caller is gone.
    fn is_abandoned(&self) -> bool;

    /// Runs the closure and stores its result. Returns whether its writes stay.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Sends the result to the caller, or `failure` if the result was a success.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

pub(crate) struct Task<T, F> {
    access: Access,
    operation: &'static str,
    deadline: Instant,
    closure: Option<F>,
    result: Option<Result<T, OutboxError>>,
    reply: oneshot::Sender<Result<T, OutboxError>>,
}

impl<T, F> Task<T, F> {
    pub(crate) fn new(
        access: Access,
        operation: &'static str,
        deadline: Instant,
        closure: F,
    ) -> (Self, oneshot::Receiver<Result<T, OutboxError>>) {
        let (reply, answer) = oneshot::channel();
        let task = Self {
            access,
            operation,
            deadline,
            closure: Some(closure),
            result: None,
            reply,
        };
        (task, answer)
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, OutboxError> + Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let Some(closure) = self.closure.take() else {
            return false;
        };
        // The connection survives a panic: the savepoint undoes the writes of the closure.
        let result = catch_unwind(AssertUnwindSafe(|| closure(connection)));
        let result = result.unwrap_or_else(|panic| Err(panicked(self.operation, panic.as_ref())));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let answer = match (self.result, failure) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(failure)) => Err(failure.of(self.operation)),
            (None, None) => Err(refusal(
                ErrorKind::Conflict,
                self.operation,
                "the call was not run",
            )),
        };
        // An error here means that the caller is gone.
        let _ = self.reply.send(answer);
    }
}

fn panicked(operation: &'static str, panic: &(dyn Any + Send)) -> OutboxError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    refusal(
        ErrorKind::Invalid,
        operation,
        format!("the call panicked and was undone: {message}"),
    )
}
