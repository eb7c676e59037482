//! Which database to open, and how long to wait for it.

use crate::error::BACKEND;
use outbox_core::OutboxError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database and its timeouts. Made from a path by [`From`], or with [`new`](Self::new) or
/// [`in_memory`](Self::in_memory) and the setters, in any order.
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteConfig {
    pub(crate) database: Database,
    pub(crate) busy_timeout: Duration,
    pub(crate) call_timeout: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Database {
    File(PathBuf),
    Memory(String),
}

impl SqliteConfig {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Database::File(path.into()))
    }

    /// The database `name` in the memory of this process. All connections to one name share it. It is
    /// empty at first, and is dropped with the last connection. The application connects to it with
    /// [`memory_uri`].
    ///
    /// A reader and a writer wait for each other there, and SQLite limits it to 1 GB. Opening it is
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if `name` is not 1 to 100 of the characters `a-z`,
    /// `A-Z`, `0-9`, `-`, `_` and `.`.
    ///
    /// ```
    /// # use outbox_driver_sqlite::SqliteConfig;
    /// let config = SqliteConfig::in_memory("shop");
    /// ```
    pub fn in_memory(name: impl Into<String>) -> Self {
        Self::of(Database::Memory(name.into()))
    }

    fn of(database: Database) -> Self {
        Self {
            database,
            busy_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
        }
    }

    /// How long a transaction waits for a lock of another connection. Default: 5 seconds.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How long a call may take, including its time in the queue. Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }
}

impl From<&Path> for SqliteConfig {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<PathBuf> for SqliteConfig {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<&PathBuf> for SqliteConfig {
    fn from(path: &PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<&str> for SqliteConfig {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<String> for SqliteConfig {
    fn from(path: String) -> Self {
        Self::new(path)
    }
}

impl From<&String> for SqliteConfig {
    fn from(path: &String) -> Self {
        Self::new(path)
    }
}

/// The URI of the database `name` in the memory of this process, for a connection of the application:
/// `Connection::open(memory_uri("shop")?)`.
///
/// # Errors
///
/// [`Invalid`](outbox_core::ErrorKind::Invalid) if `name` is not 1 to 100 of the characters `a-z`, `A-Z`,
/// `0-9`, `-`, `_` and `.`.
pub fn memory_uri(name: &str) -> Result<String, OutboxError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) {
        let allowed = "1 to 100 of the characters a-z, A-Z, 0-9, '-', '_' and '.'";
        let problem = format!("name of a database in memory is {name:?}, but must be {allowed}");
        return Err(OutboxError::invalid(BACKEND, "open", problem));
    }
    // With this VFS each connection has its own cache and waits for the locks of the others, as
    // with a file. The better known `cache=shared` fails at once where a connection would have to wait.
    Ok(format!("file:/{name}?vfs=memdb"))
}
