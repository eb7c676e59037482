//! Opening a connection, with errors that say what to do.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "quotes show both ends of a path"
)]

use crate::config::{Database, SqliteConfig, memory_uri};
use crate::error::{kind, refusal, sqlite_error};
use crate::watch::Watch;
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const OPEN: &str = "open";

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

/// A larger write-ahead log is made smaller, in bytes. SQLite starts a checkpoint at 4 MB.
pub(crate) const LOG: u32 = 8 * 1024 * 1024;

/// The pause between two attempts at a statement for which SQLite calls no busy handler.
const PAUSE: Duration = Duration::from_millis(5);

/// What to do about a file that does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    Refuse,
    Create,
}

/// Opens the database, and changes nothing in a file that `check` refuses.
pub(crate) fn open_connection(
    config: &SqliteConfig,
    missing: Missing,
    check: impl FnOnce(&Connection) -> Result<(), OutboxError>,
) -> Result<(Connection, Watch), OutboxError> {
    let (connection, path) = match &config.database {
        Database::Memory(name) => (open_memory(name)?, Path::new(name)),
        Database::File(path) => (open_file(path, missing)?, path.as_path()),
    };
    prepare(&connection, config).map_err(|error| explain(path, &error))?;
    check(&connection)?;
    use_wal(&connection, config.busy_timeout).map_err(|error| explain(path, &error))?;
    if connection
        .is_readonly(MAIN_DB)
        .map_err(sqlite_error(OPEN))?
    {
        return Err(read_only(path));
    }
    let watch = match config.database {
        Database::Memory(_) => Watch::nothing(),
        Database::File(_) => {
            // A first read, so that the write-ahead log and its index exist and can be watched.
            connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
                .map_err(|error| explain(path, &error))?;
            Watch::new(&absolute(path)?, connection.path())?
        }
    };
    Ok((connection, watch))
}

/// Reads from a database with `look` and changes nothing. `None` if the file does not exist; its
/// folder must exist.
///
/// It runs on another thread, because a read may wait for a lock.
pub(crate) async fn inspect<T: Send + 'static>(
    config: SqliteConfig,
    look: impl FnOnce(&Connection) -> Result<T, OutboxError> + Send + 'static,
) -> Result<Option<T>, OutboxError> {
    let (sender, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("outbox-sqlite".to_owned())
        .spawn(move || drop(sender.send(inspect_now(&config, look))))
        .map_err(|error| refusal(ErrorKind::Unavailable, OPEN, error.to_string()))?;
    let panicked = |_| refusal(ErrorKind::Invalid, OPEN, "the call panicked");
    answer.await.map_err(panicked)?
}

fn inspect_now<T>(
    config: &SqliteConfig,
    look: impl FnOnce(&Connection) -> Result<T, OutboxError>,
) -> Result<Option<T>, OutboxError> {
    let (connection, path) = match &config.database {
        Database::Memory(name) => (open_memory(name)?, Path::new(name)),
        Database::File(path) => {
            let file = absolute(path)?;
            check(&file, Missing::Create)?;
            if !file.exists() {
                return Ok(None);
            }
            (open_file(path, Missing::Refuse)?, path.as_path())
        }
    };
    prepare(&connection, config).map_err(|error| explain(path, &error))?;
    look(&connection).map(Some)
}

fn open_memory(name: &str) -> Result<Connection, OutboxError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(memory_uri(name)?, flags).map_err(sqlite_error(OPEN))
}

fn open_file(path: &Path, missing: Missing) -> Result<Connection, OutboxError> {
    let path = absolute(path)?;
    check(&path, missing)?;
    let create = match missing {
        Missing::Refuse => OpenFlags::empty(),
        Missing::Create => OpenFlags::SQLITE_OPEN_CREATE,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    Connection::open_with_flags(&path, flags).map_err(|error| explain(&path, &error))
}

/// Makes the path absolute, so that SQLite does not read it as a special name such as ":memory:".
fn absolute(path: &Path) -> Result<PathBuf, OutboxError> {
    std::path::absolute(path)
        .map_err(|error| refusal(ErrorKind::Invalid, OPEN, format!("{path:?}: {error}")))
}

/// Refuses paths that SQLite would refuse with a less exact message.
fn check(path: &Path, missing: Missing) -> Result<(), OutboxError> {
    let invalid = |text: String| Err(refusal(ErrorKind::Invalid, OPEN, text));
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => invalid(format!("{path:?} is a folder, but must be a file")),
        Ok(found) if found.permissions().readonly() => Err(read_only(path)),
        Ok(_) => Ok(()),
        Err(_) if path.parent().is_some_and(|folder| !folder.is_dir()) => invalid(format!(
            "the folder of {path:?} does not exist; create it first"
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match missing {
            Missing::Refuse => invalid(format!("{path:?} does not exist; run `outbox migrate`")),
            Missing::Create => Ok(()),
        },
        Err(error) => invalid(format!("{path:?} cannot be reached: {error}")),
    }
}

fn prepare(connection: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    connection.busy_timeout(config.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite plans some statements again for each value that is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Savepoints and sorts keep what they need in memory, not in a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // When SQLite writes the log from its start again, it shrinks it to this size.
    connection.pragma_update(None, "journal_size_limit", LOG)?;
    // The first read of the file. It fails if this is not an SQLite file.
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
}

/// SQLite does not call the busy handler while it changes the journal mode, so concurrent processes that
/// open a new file would fail here. This repeats the statement until the timeout.
fn use_wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        });
        match mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < patience =>
            {
                std::thread::sleep(PAUSE);
            }
            // On a file system without shared memory the mode does not change. That is slower, but safe.
            done => return done.map(drop),
        }
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> OutboxError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refusal(
            ErrorKind::Invalid,
            OPEN,
            format!("{path:?} is not a SQLite file; use another"),
        ),
        Some(ErrorCode::ReadOnly) => read_only(path),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => refusal(
            ErrorKind::Invalid,
            OPEN,
            format!("{path:?} cannot be opened; check its permissions and its folder's: {error}"),
        ),
        _ => refusal(kind(error), OPEN, format!("{path:?}: {error}")),
    }
}

fn read_only(path: &Path) -> OutboxError {
    refusal(
        ErrorKind::Invalid,
        OPEN,
        format!("{path:?} is read-only; allow this user to write it and its folder"),
    )
}
