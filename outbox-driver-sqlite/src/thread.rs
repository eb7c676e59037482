//! The connection thread: writes that wait at the same time share a commit.

use crate::changes::{Changes, State};
use crate::error::kind;
use crate::job::{Access, Failure, Job};
use crate::open::LOG;
use crate::watch::{FileState, Watch};
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

/// How many instructions SQLite runs between two checks of the deadline.
const INSTRUCTIONS: std::ffi::c_int = 10_000;

/// What a handle sends to its thread.
pub(crate) enum Message {
    Job(Box<dyn Job>),
    /// Ends the thread. The sender is dropped when the connection is closed.
    Close(oneshot::Sender<()>),
}

/// Serves jobs until the last handle is gone or one asks to close, then closes the connection.
pub(crate) fn run(
    #[allow(
        unused_mut,
        reason = "older versions of rusqlite take a shared connection"
    )]
    mut connection: Connection,
    queue: &Receiver<Message>,
    watch: Watch,
    changes: Changes,
    busy_timeout: Duration,
) {
    let deadline = Deadline::default();
    // If this fails, a read may run for longer than its timeout; nothing else changes.
    let _ = connection.progress_handler(INSTRUCTIONS, Some(deadline.handler()));
    let journal =
        connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    let has_log = journal.is_ok_and(|mode| mode == "wal");
    let mut thread = Thread {
        connection,
        deadline,
        watch,
        changes,
        busy_timeout,
        has_log,
        is_synced: true,
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
    changes: Changes,
    busy_timeout: Duration,
    /// Whether the journal is a write-ahead log.
    has_log: bool,
    /// Whether each commit waits for the disk.
    is_synced: bool,
    /// The size of the write-ahead log in bytes, before the latest job.
    log: u64,
    /// The latest attempt to make it smaller.
    trimmed: Option<Instant>,
}

impl Thread {
    /// Runs a job; with a write, also the writes that follow it in the queue. Returns a message that it
    /// received but did not handle.
    fn serve(&mut self, job: Box<dyn Job>, queue: &Receiver<Message>) -> Option<Message> {
        if let Err(failure) = self.check_files() {
            job.answer(Some(&failure));
            return None;
        }
        let next = match job.access() {
            Access::Read => {
                self.read(job);
                None
            }
            access => match self.sync_commits(access == Access::Write) {
                Ok(()) => self.write_group(job, queue),
                Err(failure) => {
                    job.answer(Some(&failure));
                    None
                }
            },
        };
        self.trim();
        next
    }

    fn check_files(&mut self) -> Result<(), Failure> {
        let (kind, text) = match self.watch.check() {
            FileState::Same { log } => {
                self.log = log;
                return Ok(());
            }
            FileState::Unknown(text) => (ErrorKind::Unavailable, text),
            FileState::Replaced(text)
            | FileState::LogRemoved(text)
            | FileState::LogReplaced(text) => (ErrorKind::Invalid, text),
        };
        Err(Failure::new(kind, text))
    }

    /// Makes a large write-ahead log smaller. It grows while a connection reads an old snapshot, and
    /// SQLite does not shrink it afterwards.
    fn trim(&mut self) {
        if self.log <= u64::from(LOG) || self.trimmed.is_some_and(|at| at.elapsed() < BETWEEN_TRIMS)
        {
            return;
        }
        self.trimmed = Some(Instant::now());
        self.checkpoint();
    }

    /// Copies the write-ahead log into the file and empties it, as far as the locks of other connections
    /// allow.
    fn checkpoint(&self) {
        let _ = self.connection.busy_timeout(Duration::ZERO);
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let _ = self.connection.query_row(checkpoint, [], |_| Ok(()));
        let _ = self.connection.busy_timeout(self.busy_timeout);
    }

    /// When the last connection closes, SQLite copies the log into the file and removes the log by its
    /// path. That would harm a file that has replaced the file or its log, so it is switched off then.
    fn close(mut self) {
        let state = self.watch.check();
        if matches!(state, FileState::Same { .. } | FileState::Replaced(_)) {
            self.checkpoint();
        }
        if !matches!(state, FileState::Same { .. } | FileState::LogRemoved(_)) {
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(keep, true);
        }
        drop(self.connection);
    }

    /// Lets commits wait for the disk, or not. Without the wait a power cut undoes the latest commits, but
    /// harms no file, as the write-ahead log is synced before it is copied. Other journals promise less.
    fn sync_commits(&mut self, sync: bool) -> Result<(), Failure> {
        let sync = sync || !self.has_log;
        if sync != self.is_synced {
            let level = if sync { "FULL" } else { "NORMAL" };
            let set = self.connection.pragma_update(None, "synchronous", level);
            set.map_err(failure)?;
            self.is_synced = sync;
        }
        Ok(())
    }

    fn read(&self, mut job: Box<dyn Job>) {
        let connection = &self.connection;
        let failure = execute(connection, "BEGIN DEFERRED").map_err(failure).err();
        if failure.is_none() {
            // A read is interrupted at its timeout, so that the calls behind it are served. A write is
            // not: it would be repeated, and might never end.
            self.deadline.set(Some(job.deadline()));
            job.run(connection);
            self.deadline.set(None);
        }
        end(connection);
        job.answer(failure.as_ref());
    }

    /// Runs a write, and the writes that follow it in the queue, in one transaction. Returns a message
    /// that it received but did not handle.
    ///
    /// IMMEDIATE, because a transaction that reads first and then writes fails without waiting for the
    /// busy timeout if another process has written in between.
    fn write_group(&self, mut first: Box<dyn Job>, queue: &Receiver<Message>) -> Option<Message> {
        let connection = &self.connection;
        let access = first.access();
        let mut ended = execute(connection, "BEGIN IMMEDIATE").map_err(failure);
        let before = (access == Access::QuietWrite).then(|| self.version());
        if ended.is_ok() {
            // It needs no savepoint: without the others, the whole transaction can be undone.
            let keep = first.run(connection);
            if !keep {
                end(connection);
                first.answer(None);
                return None;
            }
            ended = still_open(connection);
        }
        let mut group = vec![first];
        let mut after = None;
        while group.len() < GROUP && after.is_none() {
            match queue.try_recv() {
                Ok(Message::Job(job)) if job.is_abandoned() => {}
                Ok(Message::Job(mut job)) if job.access() == access => {
                    // After a failure no further job may run. Outside the transaction it would commit at
                    // once.
                    if ended.is_ok() {
                        ended = self.write_one(&mut *job);
                    }
                    group.push(job);
                }
                Ok(other) => after = Some(other),
                Err(_) => break,
            }
        }
        let committed = ended.and_then(|()| execute(connection, "COMMIT").map_err(failure));
        end(connection);
        if let Some(before) = before
            && committed.is_ok()
        {
            self.keep_quiet(before);
        }
        for job in group {
            job.answer(committed.as_ref().err());
        }
        after
    }

    /// The write-ahead log, and a number that changes when another connection commits.
    fn version(&self) -> Option<(State, i64)> {
        Some((self.changes.look()?, self.data_version()?))
    }

    fn data_version(&self) -> Option<i64> {
        let version = self.connection.prepare_cached("PRAGMA data_version");
        version
            .and_then(|mut version| version.query_row([], |row| row.get(0)))
            .ok()
    }

    /// The transaction that ended just now is no change, unless another connection has written since. `before` is
    /// from within it, when no other connection could write.
    fn keep_quiet(&self, before: Option<(State, i64)>) {
        let (Some((before, version)), Some(after)) = (before, self.changes.look()) else {
            return;
        };
        // One that was writing when the log was looked at has the lock still, or has committed.
        let _ = self.connection.busy_timeout(Duration::ZERO);
        let is_alone = execute(&self.connection, "BEGIN IMMEDIATE").is_ok()
            && self.data_version() == Some(version);
        end(&self.connection);
        let _ = self.connection.busy_timeout(self.busy_timeout);
        if is_alone {
            self.changes.pass_over(before, after);
        }
    }

    /// Runs one write in a savepoint, so that it can be undone without the other writes. Fails if the
    /// transaction has ended; SQLite rolls back all of it when the disk is full, for example.
    fn write_one(&self, job: &mut dyn Job) -> Result<(), Failure> {
        let connection = &self.connection;
        execute(connection, "SAVEPOINT one").map_err(failure)?;
        let keep = job.run(connection);
        still_open(connection)?;
        if !keep {
            execute(connection, "ROLLBACK TO one").map_err(failure)?;
        }
        execute(connection, "RELEASE one").map_err(failure)
    }
}

/// Runs a statement that is prepared only once.
fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn still_open(connection: &Connection) -> Result<(), Failure> {
    if connection.is_autocommit() {
        return Err(Failure::new(
            ErrorKind::Unavailable,
            "another write in the shared transaction ended it; nothing was applied",
        ));
    }
    Ok(())
}

/// Rolls back the transaction if it is still open.
fn end(connection: &Connection) {
    if !connection.is_autocommit() {
        let _ = execute(connection, "ROLLBACK");
    }
}

fn failure(error: rusqlite::Error) -> Failure {
    Failure::new(kind(&error), error)
}

/// When the running read must be interrupted, in milliseconds since the thread started.
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

    /// SQLite calls it regularly, and interrupts the statement if it returns `true`.
    fn handler(&self) -> impl FnMut() -> bool + Send + 'static {
        let deadline = self.clone();
        move || deadline.millis(Instant::now()) > deadline.at.load(Ordering::Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
