//! The handle that async callers hold.

use crate::error::refusal;
use crate::job::{Access, Job, Task};
use crate::open::{Place, open_connection};
use crate::thread;
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a [`Driver`] waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverOptions {
    pub(crate) busy_timeout: Duration,
    pub(crate) call_timeout: Duration,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
        }
    }
}

impl DriverOptions {
    /// How long a transaction waits for another connection's lock. Default: 5 seconds.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How long a caller waits for its answer, time in the queue included. Default: 10 seconds.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }
}

/// A handle to one SQLite connection on a thread of its own.
///
/// Clones share the connection. The thread finishes what is queued and ends when the last clone
/// is dropped.
///
/// The waiting time of a call is measured by tokio's clock. Under `tokio::time::pause` that clock
/// jumps ahead while the thread works, and calls time out.
#[derive(Clone, Debug)]
pub struct Driver {
    jobs: mpsc::Sender<Box<dyn Job>>,
    call_timeout: Duration,
}

impl Driver {
    /// Opens a file that exists and that `check` accepts. A file that is refused is not changed;
    /// one that is not goes into WAL mode.
    ///
    /// # Errors
    ///
    /// Those of `check`; [`ErrorKind::Invalid`] for a missing file, a folder, a file that is not of `SQLite` or one
    /// that cannot be written; [`ErrorKind::Unavailable`] if other connections keep it locked.
    pub async fn open(
        path: impl AsRef<Path>,
        options: DriverOptions,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(Place::Existing(owned(path)), options, check).await
    }

    /// As [`open`](Self::open), and makes the file first if it is missing. Its folder must exist.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); a missing folder is [`ErrorKind::Invalid`].
    pub async fn create(
        path: impl AsRef<Path>,
        options: DriverOptions,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(Place::Created(owned(path)), options, check).await
    }

    /// Opens the database `name` in this process's memory, which all its handles and connections
    /// share. It is empty at first, and gone when the last of them is.
    ///
    /// A reader and a writer wait for each other there; `SQLite` lets it grow to 1 GB.
    ///
    /// # Errors
    ///
    /// As [`memory_uri`](crate::memory_uri).
    pub async fn open_in_memory(
        name: impl Into<String>,
        options: DriverOptions,
    ) -> Result<Self, OutboxError> {
        Self::start(Place::Memory(name.into()), options, |_| Ok(())).await
    }

    /// Runs `f` in a write transaction and answers once it is committed.
    ///
    /// Calls that wait at the same time share the transaction. Each has a savepoint: if `f` errs
    /// or panics, what it wrote is undone and its neighbours keep theirs. `f` must not begin or
    /// end a transaction; savepoints are fine.
    ///
    /// # Errors
    ///
    /// What `f` returns; [`ErrorKind::Unavailable`] if the lock cannot be had in time or the disk
    /// fails. After a timeout of the call the write may have been applied.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped before `f` began is skipped. Later, it is applied unseen.
    pub async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let reply = self.submit(Access::Write, operation, f)?;
        self.wait(operation, reply).await
    }

    /// Runs `f` on a consistent snapshot. It takes no write lock, and writing in it is refused.
    ///
    /// # Errors
    ///
    /// What `f` returns; [`ErrorKind::Unavailable`] if the answer does not come in time.
    pub async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let reply = self.submit(Access::Read, operation, f)?;
        self.wait(operation, reply).await
    }

    /// Queues a job; dropping the receiver before it begins takes it back.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        access: Access,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, OutboxError>>, OutboxError> {
        let (task, reply) = Task::new(access, operation, f);
        self.jobs
            .send(Box::new(task))
            .map_err(|_| thread_gone(operation))?;
        Ok(reply)
    }

    async fn wait<T>(
        &self,
        operation: &'static str,
        reply: oneshot::Receiver<Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        match tokio::time::timeout(self.call_timeout, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(thread_gone(operation)),
            Err(_) => Err(refusal(
                ErrorKind::Unavailable,
                operation,
                format!(
                    "no answer within {:?}; the call may have been applied",
                    self.call_timeout
                ),
            )),
        }
    }

    async fn start(
        place: Place,
        options: DriverOptions,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        let (jobs, queue) = mpsc::channel();
        let (opened, outcome) = oneshot::channel();
        let call_timeout = options.call_timeout;
        std::thread::Builder::new()
            .name("outbox-sqlite".to_owned())
            .spawn(move || match open_connection(&place, &options, check) {
                // A caller that no longer waits for the opening also dropped the sender of jobs.
                Ok(connection) => {
                    let _ = opened.send(Ok(()));
                    thread::run(&connection, &queue);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|error| refusal(ErrorKind::Unavailable, "open", error.to_string()))?;
        outcome.await.unwrap_or_else(|_| Err(thread_gone("open")))?;
        Ok(Self { jobs, call_timeout })
    }
}

fn owned(path: impl AsRef<Path>) -> PathBuf {
    path.as_ref().to_owned()
}

fn thread_gone(operation: &'static str) -> OutboxError {
    refusal(
        ErrorKind::Unavailable,
        operation,
        "the connection thread has ended; open the file again",
    )
}
