//! The handle of async callers.

use crate::changes::Changes;
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

/// How long the drop of the last handle waits until the connection is closed.
const CLOSING: Duration = Duration::from_secs(1);

/// A handle to one SQLite connection, which belongs to one thread.
///
/// Clones share the connection. When the last clone is dropped, the thread finishes the calls in the
/// queue, copies the write-ahead log into the file and closes the connection. The drop waits for that
/// for at most a second. A program that is about to end calls [`close`](Self::close) instead, which
/// waits for as long as a call may take.
///
/// Each transaction first checks the path. If it leads to no file or to another one, or if that is true
/// of the write-ahead log, each call is [`ErrorKind::Invalid`]: SQLite would keep using the old file,
/// which no other program sees.
///
/// The clock of tokio measures the timeout of a call. Under `tokio::time::pause` that clock jumps ahead
/// while the thread works, and calls time out.
#[derive(Clone, Debug)]
pub struct Driver {
    thread: Arc<Thread>,
    changes: Changes,
    call_timeout: Duration,
}

/// The connection thread, for its handles.
#[derive(Debug)]
struct Thread {
    id: ThreadId,
    /// `None` only while the last handle is dropped.
    queue: Option<Sender<Message>>,
    /// Receives nothing. The other end is dropped when the connection is closed.
    ended: Mutex<Receiver<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.queue = None;
        // A job may own the last handle, and the thread cannot wait for itself.
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

    /// Runs `f` in a write transaction, and returns after its commit.
    ///
    /// Calls that wait at the same time share the transaction. Each has a savepoint: if `f` fails or
    /// panics, its writes are undone and those of the other calls stay. `f` must not start or end a
    /// transaction; savepoints are fine.
    ///
    /// # Errors
    ///
    /// Those of `f`; [`ErrorKind::Unavailable`] if another connection keeps the lock for too long or if
    /// the disk fails. After a timeout of the call the write may have been applied.
    ///
    /// # Cancel safety
    ///
    /// Cancelled before `f` starts: nothing happens. Cancelled later: the write still commits.
    pub async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.call(Access::Write, operation, f).await
    }

    /// As [`write`](Self::write), but the commit does not wait for the disk.
    ///
    /// A power cut may undo it together with everything that was committed later. A later
    /// [`write`](Self::write), or a commit of another connection that waits for the disk, saves it. The end
    /// of the process undoes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    ///
    /// # Cancel safety
    ///
    /// That of [`write`](Self::write).
    pub async fn write_unsynced<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.call(Access::UnsyncedWrite, operation, f).await
    }

    /// As [`write_unsynced`](Self::write_unsynced), for a write that is no news to those who wait for
    /// [`changes`](Self::changes) of this driver or of its clones. Other drivers see it as a change.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    ///
    /// # Cancel safety
    ///
    /// That of [`write`](Self::write).
    pub async fn write_quietly<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.call(Access::QuietWrite, operation, f).await
    }

    /// Runs `f` on a consistent snapshot. It takes no write lock. What `f` writes is undone.
    ///
    /// # Errors
    ///
    /// Those of `f`; [`ErrorKind::Unavailable`] after a timeout of the call.
    pub async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.call(Access::Read, operation, f).await
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

    /// Tells from now on whether something may have been committed, without a statement.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Finishes the calls in the queue, copies the write-ahead log into the file and closes the
    /// connection, for all clones. Later calls are [`ErrorKind::Invalid`]; closing again is fine.
    ///
    /// The log is not copied if that is not safe, because the file was replaced, or if another connection
    /// reads from the log.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the connection is not closed within the timeout of a call. The
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

    /// Queues a job and waits for its answer. The job is skipped if the future is dropped before it starts.
    async fn call<T: Send + 'static>(
        &self,
        access: Access,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let deadline = Instant::now() + self.call_timeout;
        let (task, reply) = Task::new(access, operation, deadline, f);
        self.send(Message::Job(Box::new(task)))
            .map_err(|()| closed(operation))?;
        match tokio::time::timeout(self.call_timeout, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(closed(operation)),
            Err(_) => {
                let mut text = format!("no answer within {:?}", self.call_timeout);
                if access != Access::Read {
                    text.push_str("; the call may have been applied");
                }
                Err(refusal(ErrorKind::Unavailable, operation, text))
            }
        }
    }

    fn send(&self, message: Message) -> Result<(), ()> {
        let queue = self.thread.queue.as_ref().ok_or(())?;
        queue.send(message).map_err(drop)
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
                    // If the caller no longer waits, it has also dropped the sender of jobs.
                    Ok((connection, watch)) => {
                        let changes = Changes::of(watch.log());
                        let _ = opened.send(Ok(changes.clone()));
                        thread::run(connection, &queue, watch, changes, config.busy_timeout);
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
        let changes = outcome.await.unwrap_or_else(|_| Err(closed("open")))?;
        let thread = Arc::new(thread);
        Ok(Self {
            thread,
            changes,
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
