//! The handle that async callers hold.

use crate::config::SqliteConfig;
use crate::error::{refusal, sqlite_error};
use crate::job::{Access, Task};
use crate::open::{Missing, open_connection};
use crate::thread::{self, Message};
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::Connection;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the drop of the last handle waits for the connection to close.
const CLOSING: Duration = Duration::from_secs(1);

/// A handle to one SQLite connection on a thread of its own.
///
/// Clones share the connection. When the last clone is dropped, the thread finishes what is queued,
/// copies the write-ahead log into the file and closes the connection; the drop waits for that for up
/// to a second. A program that is about to end calls [`close`](Self::close) instead, which waits for
/// as long as a call may take.
///
/// The path is looked at before each transaction. Once it is gone or is another file, or the file's
/// write-ahead log is, each call is [`ErrorKind::Invalid`]: SQLite would go on with the old file,
/// which nobody else sees.
///
/// The waiting time of a call is measured by tokio's clock. Under `tokio::time::pause` that clock
/// jumps ahead while the thread works, and calls time out.
#[derive(Clone, Debug)]
pub struct Driver {
    thread: Arc<Thread>,
    call_timeout: Duration,
}

/// The connection thread, as its handles see it.
#[derive(Debug)]
struct Thread {
    id: ThreadId,
    /// `None` only while the last handle is dropped.
    queue: Option<Sender<Message>>,
    /// Nothing is sent; the other end is gone when the connection is closed.
    ended: Mutex<Receiver<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.queue = None;
        // A job may own the last handle: the thread cannot wait for itself.
        if std::thread::current().id() != self.id
            && let Ok(ended) = self.ended.get_mut()
        {
            let _ = ended.recv_timeout(CLOSING);
        }
    }
}

impl Driver {
    /// Opens a file that exists and that `check` accepts, or a database in memory. A file that is
    /// refused is not changed; one that is accepted is set to WAL mode.
    ///
    /// # Errors
    ///
    /// Those of `check`. [`ErrorKind::Invalid`] if the file is missing, is a folder, is not an SQLite
    /// file or cannot be written. [`ErrorKind::Unavailable`] if other connections keep it locked.
    pub async fn open(
        config: impl Into<SqliteConfig>,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(config.into(), Missing::Refuse, check).await
    }

    /// As [`open`](Self::open), and creates the file if it is missing. Its folder must exist.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open); a missing folder is [`ErrorKind::Invalid`].
    pub async fn create(
        config: impl Into<SqliteConfig>,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(config.into(), Missing::Create, check).await
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

    /// As [`write`](Self::write), for statements alone.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write); an error of `f` goes through [`sqlite_error`].
    ///
    /// # Cancel safety
    ///
    /// That of [`write`](Self::write).
    pub async fn execute<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let f = move |connection: &Connection| f(connection).map_err(sqlite_error(operation));
        self.write(operation, f).await
    }

    /// As [`read`](Self::read), for statements alone.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read); an error of `f` goes through [`sqlite_error`].
    pub async fn fetch<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let f = move |connection: &Connection| f(connection).map_err(sqlite_error(operation));
        self.read(operation, f).await
    }

    /// Finishes what is queued, copies the write-ahead log into the file and closes the connection,
    /// for all clones. Calls after that are [`ErrorKind::Invalid`]; closing again is fine.
    ///
    /// The log is left as it is where that is not safe (the file was replaced) or another connection
    /// reads from it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the connection is not closed within the timeout of a call; the
    /// thread then closes it later.
    pub async fn close(&self) -> Result<(), OutboxError> {
        let (closed, answer) = oneshot::channel();
        if self.send(Message::Close(closed)).is_err() {
            return Ok(());
        }
        match tokio::time::timeout(self.call_timeout, answer).await {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal(
                ErrorKind::Unavailable,
                "close",
                format!("not closed within {:?}", self.call_timeout),
            )),
        }
    }

    /// Queues a job; dropping the receiver before it begins takes it back.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        access: Access,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, OutboxError>>, OutboxError> {
        let deadline = Instant::now() + self.call_timeout;
        let (task, reply) = Task::new(access, operation, deadline, f);
        self.send(Message::Job(Box::new(task)))
            .map_err(|()| closed(operation))?;
        Ok(reply)
    }

    fn send(&self, message: Message) -> Result<(), ()> {
        let queue = self.thread.queue.as_ref().ok_or(())?;
        queue.send(message).map_err(drop)
    }

    async fn wait<T>(
        &self,
        operation: &'static str,
        reply: oneshot::Receiver<Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        match tokio::time::timeout(self.call_timeout, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(closed(operation)),
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
        config: SqliteConfig,
        missing: Missing,
        check: impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static,
    ) -> Result<Self, OutboxError> {
        let (sender, queue) = mpsc::channel();
        let (opened, outcome) = oneshot::channel();
        let (running, ended) = mpsc::channel();
        let call_timeout = config.call_timeout;
        let thread = std::thread::Builder::new()
            .name("outbox-sqlite".to_owned())
            .spawn(move || {
                match open_connection(&config, missing, check) {
                    // A caller that no longer waits for the opening also dropped the sender of jobs.
                    Ok((connection, watch)) => {
                        let _ = opened.send(Ok(()));
                        thread::run(connection, &queue, watch, config.busy_timeout);
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
                drop::<Sender<()>>(running);
            })
            .map_err(|error| refusal(ErrorKind::Unavailable, "open", error.to_string()))?;
        let thread = Thread {
            id: thread.thread().id(),
            queue: Some(sender),
            ended: Mutex::new(ended),
        };
        outcome.await.unwrap_or_else(|_| Err(closed("open")))?;
        let thread = Arc::new(thread);
        Ok(Self {
            thread,
            call_timeout,
        })
    }
}

fn closed(operation: &'static str) -> OutboxError {
    refusal(
        ErrorKind::Invalid,
        operation,
        "the connection is closed; open the file again",
    )
}
