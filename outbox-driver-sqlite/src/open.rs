//! Opening a connection, with errors that say what to do.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "quotes show where a path begins and ends"
)]

use crate::driver::DriverOptions;
use crate::error::{BACKEND, kind, refusal, sqlite_error};
use crate::watch::Watch;
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const OPEN: &str = "open";

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 64;

/// The size of a write-ahead log that is made smaller, in bytes. A checkpoint begins at 4 MB.
pub(crate) const LOG: u32 = 8 * 1024 * 1024;

/// How long to wait before asking again for what has no busy handler.
const PAUSE: Duration = Duration::from_millis(5);

/// Which database to open.
#[derive(Debug)]
pub(crate) enum Place {
    Existing(PathBuf),
    Created(PathBuf),
    Memory(String),
}

/// Opens the place, and changes nothing of a file that `check` refuses.
pub(crate) fn open_connection(
    place: &Place,
    options: &DriverOptions,
    check: impl FnOnce(&Connection) -> Result<(), OutboxError>,
) -> Result<(Connection, Watch), OutboxError> {
    let connection = match place {
        Place::Memory(name) => open_memory(name)?,
        Place::Existing(path) => open_file(path, OpenFlags::empty())?,
        Place::Created(path) => open_file(path, OpenFlags::SQLITE_OPEN_CREATE)?,
    };
    let path = match place {
        Place::Existing(path) | Place::Created(path) => path,
        Place::Memory(name) => Path::new(name),
    };
    prepare(&connection, options).map_err(|error| explain(path, &error))?;
    check(&connection)?;
    use_wal(&connection, options.busy_timeout).map_err(|error| explain(path, &error))?;
    if connection
        .is_readonly(MAIN_DB)
        .map_err(sqlite_error(OPEN))?
    {
        return Err(read_only(path));
    }
    let watch = match place {
        Place::Memory(_) => Watch::nothing(),
        Place::Existing(_) | Place::Created(_) => {
            // A first read, so that the write-ahead log and its index are there to be watched.
            connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
                .map_err(|error| explain(path, &error))?;
            Watch::new(&absolute(path)?, connection.path())?
        }
    };
    Ok((connection, watch))
}

/// Looks into a file and changes nothing of it. `None` if there is no such file; its folder must
/// exist. Blocks until `look` returns.
///
/// # Errors
///
/// Those of `look`, and those of [`Driver::create`](crate::Driver::create).
pub fn inspect<T>(
    path: impl AsRef<Path>,
    look: impl FnOnce(&Connection) -> Result<T, OutboxError>,
) -> Result<Option<T>, OutboxError> {
    let path = absolute(path.as_ref())?;
    check(&path, false)?;
    if !path.exists() {
        return Ok(None);
    }
    let connection = open_file(&path, OpenFlags::empty())?;
    prepare(&connection, &DriverOptions::default()).map_err(|error| explain(&path, &error))?;
    look(&connection).map(Some)
}

/// The address of the database `name` in this process's memory, for a connection of the
/// application's own: `Connection::open(memory_uri("shop")?)`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for a name that is not of 1 to 100 letters, digits, `-`, `_` and `.`.
pub fn memory_uri(name: &str) -> Result<String, OutboxError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) {
        let allowed = "1 to 100 ASCII letters, digits, '-', '_' and '.'";
        let problem = format!("name of a database in memory is {name:?}, but must be {allowed}");
        return Err(OutboxError::invalid(BACKEND, OPEN, problem));
    }
    // Connections to one name have a cache each and wait for each other's locks, as with a file.
    // The better known `cache=shared` fails at once where they would have to wait.
    Ok(format!("file:/{name}?vfs=memdb"))
}

fn open_memory(name: &str) -> Result<Connection, OutboxError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(memory_uri(name)?, flags).map_err(sqlite_error(OPEN))
}

fn open_file(path: &Path, create: OpenFlags) -> Result<Connection, OutboxError> {
    let path = absolute(path)?;
    check(&path, create.is_empty())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    Connection::open_with_flags(&path, flags).map_err(|error| explain(&path, &error))
}

/// An absolute path is never taken for one of SQLite's special names, such as ":memory:".
fn absolute(path: &Path) -> Result<PathBuf, OutboxError> {
    std::path::absolute(path)
        .map_err(|error| refusal(ErrorKind::Invalid, OPEN, format!("{path:?}: {error}")))
}

/// Refuses what SQLite would refuse with less to say.
fn check(path: &Path, must_exist: bool) -> Result<(), OutboxError> {
    let invalid = |text: String| Err(refusal(ErrorKind::Invalid, OPEN, text));
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => invalid(format!("{path:?} is a folder; name a file in it")),
        Ok(found) if found.permissions().readonly() => Err(read_only(path)),
        Ok(_) => Ok(()),
        Err(_) if path.parent().is_some_and(|folder| !folder.is_dir()) => invalid(format!(
            "the folder of {path:?} does not exist; make it first"
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if must_exist {
                invalid(format!("{path:?} does not exist; make it with a migration"))
            } else {
                Ok(())
            }
        }
        Err(error) => invalid(format!("{path:?} cannot be reached: {error}")),
    }
}

fn prepare(connection: &Connection, options: &DriverOptions) -> rusqlite::Result<()> {
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // To this size the write-ahead log shrinks when it begins again from its start.
    connection.pragma_update(None, "journal_size_limit", LOG)?;
    // The first look into the file: what is none of SQLite's is found out here.
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
}

/// SQLite does not call the busy handler while it changes the journal mode, so processes that
/// open a new file at once would fail here; this asks again until the time is up.
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
            // A file system without shared memory keeps its old mode: slower, and as safe.
            done => return done.map(drop),
        }
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> OutboxError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refusal(
            ErrorKind::Invalid,
            OPEN,
            format!("{path:?} is not a SQLite file; name another"),
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
