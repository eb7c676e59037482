//! The connection thread: writes that wait at the same time share a commit.

use crate::error::kind;
use crate::job::{Access, Failure, Job};
use crate::open::LOG;
use crate::watch::{Sight, Watch};
use outbox_core::ErrorKind;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The most writes that share a commit.
const GROUP: usize = 64;

/// The least time between two attempts to make a large write-ahead log smaller.
const BETWEEN_TRIMS: Duration = Duration::from_secs(1);

/// Instructions of SQLite's between two looks at the clock.
const INSTRUCTIONS: std::ffi::c_int = 10_000;

/// What a handle sends to its thread.
pub(crate) enum Message {
    Job(Box<dyn Job>),
    /// Ends the thread. The sender is dropped when the connection is closed.
    Close(oneshot::Sender<()>),
}

/// Serves jobs until the last handle is gone or one asks to close, then closes the connection.
pub(crate) fn run(
    mut connection: Connection,
    queue: &Receiver<Message>,
    watch: Watch,
    busy_timeout: Duration,
) {
    let deadline = Deadline::default();
    // Without it a read may take longer than its caller waits, and is otherwise as good.
    let _ = connection.progress_handler(INSTRUCTIONS, Some(deadline.handler()));
    let mut thread = Thread {
        connection,
        deadline,
        watch,
        busy_timeout,
        log: 0,
        trimmed: None,
    };
    let mut next = queue.recv().ok();
    let mut closing = None;
    while let Some(message) = next.take() {
        match message {
            Message::Job(job) if job.is_abandoned() => {}
            Message::Job(job) => next = thread.serve(job, queue),
            Message::Close(reply) => {
                closing = Some(reply);
                break;
            }
        }
        if next.is_none() {
            next = queue.recv().ok();
        }
    }
    thread.close();
    drop(closing);
}

struct Thread {
    connection: Connection,
    deadline: Deadline,
    watch: Watch,
    busy_timeout: Duration,
    /// The bytes of the write-ahead log before the latest job.
    log: u64,
    /// When it was last made smaller, or could not be.
    trimmed: Option<Instant>,
}

impl Thread {
    /// Runs a job, and a write those that wait behind it; gives back what it took from the queue and
    /// did not run.
    fn serve(&mut self, job: Box<dyn Job>, queue: &Receiver<Message>) -> Option<Message> {
        if let Err(failure) = self.look() {
            job.answer(Some(&failure));
            return None;
        }
        let next = match job.access() {
            Access::Read => {
                self.read(job);
                None
            }
            Access::Write => self.write_group(job, queue),
        };
        self.trim();
        next
    }

    fn look(&mut self) -> Result<(), Failure> {
        let (kind, text) = match self.watch.look() {
            Sight::Same { log } => {
                self.log = log;
                return Ok(());
            }
            Sight::Unknown(text) => (ErrorKind::Unavailable, text),
            Sight::Replaced(text) | Sight::LogRemoved(text) | Sight::LogReplaced(text) => {
                (ErrorKind::Invalid, text)
            }
        };
        Err(Failure { kind, text })
    }

    /// Makes a large write-ahead log smaller. It grows for as long as somebody reads an old
    /// snapshot, and SQLite by itself keeps its size.
    fn trim(&mut self) {
        if self.log <= u64::from(LOG) || self.trimmed.is_some_and(|at| at.elapsed() < BETWEEN_TRIMS)
        {
            return;
        }
        self.trimmed = Some(Instant::now());
        self.checkpoint();
    }

    /// Copies the write-ahead log into the file and empties it, or does as much of that as other
    /// connections allow at this moment.
    fn checkpoint(&self) {
        let _ = self.connection.busy_timeout(Duration::ZERO);
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let _ = self.connection.query_row(checkpoint, [], |_| Ok(()));
        let _ = self.connection.busy_timeout(self.busy_timeout);
    }

    /// SQLite copies the log into the file and removes it by its path when the last connection
    /// closes. That harms what took the place of the file or of its log, and is switched off then.
    fn close(mut self) {
        let sight = self.watch.look();
        if matches!(sight, Sight::Same { .. } | Sight::Replaced(_)) {
            self.checkpoint();
        }
        if !matches!(sight, Sight::Same { .. } | Sight::LogRemoved(_)) {
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(keep, true);
        }
        drop(self.connection);
    }

    fn read(&self, mut job: Box<dyn Job>) {
        let connection = &self.connection;
        let begun = connection
            .execute_batch("BEGIN DEFERRED")
            .and_then(|()| connection.pragma_update(None, "query_only", true));
        let failure = begun.map_err(|error| failure(&error)).err();
        if failure.is_none() {
            // Interrupted once its caller no longer waits, so that the calls behind it are served. A
            // write is not: it would have to begin again, and might never end.
            self.deadline.set(Some(job.deadline()));
            job.run(connection);
            self.deadline.set(None);
        }
        end(connection);
        let _ = connection.pragma_update(None, "query_only", false);
        job.answer(failure.as_ref());
    }

    /// Runs a write and those that wait behind it in one transaction; gives back what else it took from
    /// the queue.
    ///
    /// IMMEDIATE, because a transaction that begins with a read and then writes is refused at once
    /// when another process wrote in between, without waiting for the busy timeout.
    fn write_group(&self, first: Box<dyn Job>, queue: &Receiver<Message>) -> Option<Message> {
        let connection = &self.connection;
        let mut ended = connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| failure(&error));
        let mut group = Vec::new();
        let mut next = Some(first);
        let mut after = None;
        while let Some(mut job) = next.take() {
            // After a failure no further job may run: outside the transaction it would commit alone.
            if ended.is_ok() {
                ended = self.write_one(&mut *job);
            }
            group.push(job);
            while group.len() < GROUP && next.is_none() && after.is_none() {
                match queue.try_recv() {
                    Ok(Message::Job(job)) if job.is_abandoned() => {}
                    Ok(Message::Job(job)) if job.access() == Access::Write => next = Some(job),
                    Ok(other) => after = Some(other),
                    Err(_) => break,
                }
            }
        }
        let committed = ended.and_then(|()| {
            connection
                .execute_batch("COMMIT")
                .map_err(|error| failure(&error))
        });
        end(connection);
        for job in group {
            job.answer(committed.as_ref().err());
        }
        after
    }

    /// Runs one write in a savepoint, so that undoing it leaves its neighbours as they are. Fails if
    /// the transaction has ended: SQLite rolls all of it back when the disk is full, for example.
    fn write_one(&self, job: &mut dyn Job) -> Result<(), Failure> {
        let connection = &self.connection;
        let mut run = || {
            connection.execute_batch("SAVEPOINT one")?;
            let keep = job.run(connection);
            if connection.is_autocommit() {
                return Ok(false);
            }
            if !keep {
                connection.execute_batch("ROLLBACK TO one")?;
            }
            connection.execute_batch("RELEASE one")?;
            Ok(true)
        };
        match run() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure {
                kind: ErrorKind::Unavailable,
                text: "a write that shared the transaction ended it; nothing was applied"
                    .to_owned(),
            }),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// Leaves no transaction open, whatever happened in it.
fn end(connection: &Connection) {
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
}

fn failure(error: &rusqlite::Error) -> Failure {
    Failure {
        kind: kind(error),
        text: error.to_string(),
    }
}

/// When the running read must be interrupted, in milliseconds after the first job could begin.
#[derive(Clone)]
struct Deadline {
    start: Instant,
    at: Arc<AtomicU64>,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

impl Deadline {
    fn set(&self, at: Option<Instant>) {
        let at = at.map_or(u64::MAX, |at| self.millis(at));
        self.at.store(at, Ordering::Relaxed);
    }

    /// Says to SQLite, now and then, whether to interrupt.
    fn handler(&self) -> impl FnMut() -> bool + Send + 'static {
        let deadline = self.clone();
        move || deadline.millis(Instant::now()) > deadline.at.load(Ordering::Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
