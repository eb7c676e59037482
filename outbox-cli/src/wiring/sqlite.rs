//! A SQLite file.

use super::backend::{Backend, CONSUMER, Store};
use super::examine::{self, Finding};
use super::open_files::{OpenFile, Owner};
use super::pools::Pools;
use super::role::{HEAP, Role, STORE, SWITCHES};
use super::switches::{self, SqliteSwitches, SwitchTable};
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{DlqHeap, OutboxError};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_inbox_sqlite::SqliteInbox;
use outbox_store_sqlite::SqliteStore;
use percent_encoding::{AsciiSet, CONTROLS};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const SCHEMES: &[&str] = &["sqlite"];

/// What a path in a URL has as `%XX`.
const IN_A_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

pub(super) struct SqliteFile {
    role: Role,
    path: PathBuf,
    /// Whether a migration creates a missing file.
    is_created: bool,
    owner: Owner,
}

impl SqliteFile {
    /// Reads a URL whose scheme is known as sqlx and SQLite do: `%XX` is a byte of the path, and what
    /// follows a `?` are parameters.
    pub(super) fn parse(role: Role, url: &str) -> Result<Self, Failure> {
        let rest = url.split_once(':').map_or("", |(_, rest)| rest);
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let (path, parameters) = path.split_once('?').unwrap_or((path, ""));
        let path =
            decoded(path).map_err(|problem| role.refused(format_args!("{url:?} {problem}")))?;
        Ok(Self {
            role,
            path,
            owner: Owner::next(),
            is_created: creates(parameters)
                .map_err(|problem| role.refused(format_args!("{problem}")))?,
        })
    }

    /// The file, which is closed together with these pools.
    pub(super) fn within(mut self, pools: &Pools) -> Self {
        self.owner = pools.owner();
        self
    }

    pub(super) fn into_path(self) -> PathBuf {
        self.path
    }
}

/// The path, or what is wrong with it.
fn decoded(path: &str) -> Result<PathBuf, &'static str> {
    if path.is_empty() {
        return Err("names no file");
    }
    if path == ":memory:" {
        return Err("is a database in memory, which ends with the command");
    }
    if path.starts_with("file:") {
        return Err("has 'file:' in front of its path");
    }
    if path.trim() != path {
        return Err(
            "has a blank at an end of its path; write it as %20 if it is a part of the name",
        );
    }
    if path.contains('#') {
        return Err("has a '#'; write it as %23");
    }
    percent_decoded(path).ok_or("has a path that no file can have; a '%' of a name is written %25")
}

/// Whether a migration creates a missing file.
fn creates(parameters: &str) -> Result<bool, String> {
    let mut creates = true;
    for (name, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
        creates = match (&*name, &*value) {
            ("mode", "rwc") => true,
            ("mode", "rw") => false,
            ("mode", mode) => return Err(format!("has mode={mode}, but mode must be rw or rwc")),
            (name, _) => {
                return Err(format!(
                    "has the parameter {name:?}, but a sqlite URL may have mode only; write '?' in a \
                     path as %3F"
                ));
            }
        };
    }
    Ok(creates)
}

#[async_trait]
impl Backend for SqliteFile {
    fn role(&self) -> Role {
        self.role
    }

    fn identity(&self) -> String {
        let path = self.path.canonicalize();
        let path = path.or_else(|_| std::path::absolute(&self.path));
        format!(
            "sqlite {}",
            path.unwrap_or_else(|_| self.path.clone()).display()
        )
    }

    fn shown(&self) -> String {
        let path = self.path.as_os_str().as_encoded_bytes();
        let path = percent_encoding::percent_encode(path, IN_A_PATH);
        let mode = if self.is_created { "" } else { "?mode=rw" };
        format!("sqlite:{path}{mode}")
    }

    fn package(&self) -> &'static str {
        match self.role {
            STORE => "outbox-store-sqlite",
            HEAP => "outbox-dlq-sqlite",
            SWITCHES => "outbox-cli",
            _ => "outbox-inbox-sqlite",
        }
    }

    async fn store(&self, block_keys: bool) -> Result<Store, Failure> {
        let store = SqliteStore::open(&self.path).await?;
        OpenFile::Store(store.clone()).register(self.owner);
        Ok(Store::new(if block_keys {
            store.block_key_on_dead_letter()
        } else {
            store
        }))
    }

    async fn heap(&self) -> Result<Arc<dyn DlqHeap>, Failure> {
        let heap = SqliteDlqHeap::open(&self.path).await?;
        OpenFile::Heap(heap.clone()).register(self.owner);
        Ok(Arc::new(heap))
    }

    async fn inbox(&self) -> Result<(), Failure> {
        SqliteInbox::open(&self.path, CONSUMER).await?;
        Ok(())
    }

    async fn switches(&self) -> Result<Arc<dyn SwitchTable>, OutboxError> {
        Ok(Arc::new(SqliteSwitches::open(&self.path).await?))
    }

    async fn migrate(&self) -> Result<(), Failure> {
        if !self.is_created && !self.path.exists() {
            return Err(Failure::Input(format!(
                "{} {:?} does not exist, and mode=rw does not create it; use mode=rwc",
                self.role.name(),
                self.path
            )));
        }
        match self.role {
            STORE => OpenFile::Store(SqliteStore::migrate(&self.path).await?).register(self.owner),
            HEAP => OpenFile::Heap(SqliteDlqHeap::migrate(&self.path).await?).register(self.owner),
            SWITCHES => drop(switches::SQLITE.migrate(&self.path).await?),
            _ => drop(SqliteInbox::migrate(&self.path, CONSUMER).await?),
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Option<usize>, Failure> {
        Ok(match self.role {
            STORE => SqliteStore::applied_migrations(&self.path).await?,
            HEAP => SqliteDlqHeap::applied_migrations(&self.path).await?,
            SWITCHES => switches::SQLITE.applied(&self.path).await?,
            _ => SqliteInbox::applied_migrations(&self.path).await?,
        })
    }

    fn known(&self) -> usize {
        match self.role {
            STORE => outbox_store_sqlite::MIGRATIONS.len(),
            HEAP => outbox_dlq_sqlite::MIGRATIONS.len(),
            SWITCHES => switches::SQLITE.migrations.len(),
            _ => outbox_inbox_sqlite::MIGRATIONS.len(),
        }
    }

    async fn examine(&self, _: bool) -> Result<Vec<Finding>, Failure> {
        Ok(match self.role {
            STORE => examine::sqlite_file(&self.path),
            _ => Vec::new(),
        })
    }

    fn script(&self) -> String {
        match self.role {
            STORE => SqliteStore::script(),
            HEAP => SqliteDlqHeap::script(),
            SWITCHES => switches::SQLITE.script(),
            _ => SqliteInbox::script(),
        }
    }
}

/// The path with its `%XX` as bytes; `None` if it has a NUL, or on this system no path has the bytes.
fn percent_decoded(path: &str) -> Option<PathBuf> {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let is_encoded = |rest: &str| {
        rest.get(..2)
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if bytes.contains(&0) || !path.split('%').skip(1).all(is_encoded) {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }
    #[cfg(not(unix))]
    String::from_utf8(bytes).ok().map(PathBuf::from)
}
