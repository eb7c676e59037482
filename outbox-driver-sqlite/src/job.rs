//! One queued call: what to run, what it gave, and who waits for it.

use crate::error::refusal;
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::Connection;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tokio::sync::oneshot;

/// What a job asks of the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Why a transaction came to nothing, for each of the jobs in it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
}

/// A [`Task`] without its types.
pub(crate) trait Job: Send {
    fn access(&self) -> Access;

    /// When the caller no longer waits.
    fn deadline(&self) -> Instant;

    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    /// Runs the closure and keeps its result. Returns whether its writes are to be kept.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers the caller: with the result, or with `failure` where the result was a success.
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
        // The connection outlives a panic: the savepoint undoes what the closure left half done.
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
            (_, Some(failure)) => Err(refusal(failure.kind, self.operation, &*failure.text)),
            (None, None) => Err(refusal(
                ErrorKind::Conflict,
                self.operation,
                "the call was not run",
            )),
        };
        // Nobody waits any more: the caller went away after its job began.
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
