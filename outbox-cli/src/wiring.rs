//! The one place that knows which backends there are.

use crate::failure::Failure;
use crate::ndjson::{NdjsonFile, NdjsonPipe};
use crate::settings::Urls;
use outbox_core::{DeadLetters, DlqHeap, OutboxStorage, Transport};
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::SqliteOutbox;
use std::sync::Arc;

/// What a URL of each role may be. A further backend is a word here and an arm in the functions
/// that follow.
const STORES: Schemes = Schemes {
    role: "store",
    allowed: "sqlite:PATH, such as sqlite:shop.db or sqlite:///var/lib/shop.db",
};
const HEAPS: Schemes = Schemes {
    role: "heap",
    allowed: "sqlite:PATH, such as sqlite:heap.db or sqlite:///var/lib/heap.db",
};

/// Everything that lives behind a store's URL.
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn OutboxStorage>,
    pub(crate) letters: Arc<dyn DeadLetters>,
}

/// Opens a store that was migrated before. With `hold_keys`, a dead letter holds its key.
pub(crate) async fn open_store(url: &str, hold_keys: bool) -> Result<Store, Failure> {
    match STORES.split(url)? {
        ("sqlite", rest) => {
            let store = SqliteOutbox::open(STORES.path(url, rest)?).await?;
            Ok(sqlite_store(if hold_keys {
                store.holding_keys()
            } else {
                store
            }))
        }
        (other, _) => Err(STORES.unknown(other)),
    }
}

/// Opens a heap that was migrated before.
pub(crate) async fn open_heap(url: &str) -> Result<Arc<dyn DlqHeap>, Failure> {
    match HEAPS.split(url)? {
        ("sqlite", rest) => Ok(Arc::new(SqliteDlqHeap::open(HEAPS.path(url, rest)?).await?)),
        (other, _) => Err(HEAPS.unknown(other)),
    }
}

/// Creates what is missing. What can be refused of either place is refused before anything is
/// made in the other.
pub(crate) async fn migrate(urls: &Urls) -> Result<(), Failure> {
    components(urls)?;
    match STORES.split(&urls.store)? {
        ("sqlite", rest) => drop(SqliteOutbox::migrate(STORES.path(&urls.store, rest)?).await?),
        (other, _) => return Err(STORES.unknown(other)),
    }
    match HEAPS.split(&urls.heap)? {
        ("sqlite", rest) => drop(SqliteDlqHeap::migrate(HEAPS.path(&urls.heap, rest)?).await?),
        (other, _) => return Err(HEAPS.unknown(other)),
    }
    Ok(())
}

/// How far the tables of one crate are migrated.
pub(crate) struct Component {
    pub(crate) role: &'static str,
    pub(crate) package: &'static str,
    /// `None` if there is nothing yet in which tables could be.
    pub(crate) applied: Option<usize>,
    pub(crate) known: usize,
}

/// How far the store and the heap are migrated. Changes nothing.
pub(crate) fn components(urls: &Urls) -> Result<[Component; 2], Failure> {
    let store = match STORES.split(&urls.store)? {
        ("sqlite", rest) => Component {
            role: STORES.role,
            package: "outbox-store-sqlite",
            applied: SqliteOutbox::applied_migrations(STORES.path(&urls.store, rest)?)?,
            known: outbox_store_sqlite::MIGRATIONS.len(),
        },
        (other, _) => return Err(STORES.unknown(other)),
    };
    let heap = match HEAPS.split(&urls.heap)? {
        ("sqlite", rest) => Component {
            role: HEAPS.role,
            package: "outbox-dlq-sqlite",
            applied: SqliteDlqHeap::applied_migrations(HEAPS.path(&urls.heap, rest)?)?,
            known: outbox_dlq_sqlite::MIGRATIONS.len(),
        },
        (other, _) => return Err(HEAPS.unknown(other)),
    };
    Ok([store, heap])
}

/// The statements of all migrations.
pub(crate) fn migrations() -> impl Iterator<Item = &'static str> {
    outbox_store_sqlite::MIGRATIONS
        .iter()
        .chain(outbox_dlq_sqlite::MIGRATIONS)
        .copied()
}

fn sqlite_store(store: SqliteOutbox) -> Store {
    Store {
        storage: Arc::new(store.clone()),
        letters: Arc::new(store),
    }
}

/// The URLs that a role takes.
struct Schemes {
    role: &'static str,
    allowed: &'static str,
}

impl Schemes {
    /// The scheme, and what stands behind its colon.
    fn split<'a>(&self, url: &'a str) -> Result<(&'a str, &'a str), Failure> {
        url.split_once(':')
            .ok_or_else(|| self.refused(format_args!("{url:?} is not a URL")))
    }

    /// The path of a `sqlite:` URL.
    fn path<'a>(&self, url: &str, rest: &'a str) -> Result<&'a str, Failure> {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() {
            return Err(self.refused(format_args!("{url:?} names no file")));
        }
        Ok(path)
    }

    /// Without the rest of the URL, which may hold a password.
    fn unknown(&self, scheme: &str) -> Failure {
        self.refused(format_args!("has the unknown scheme {scheme:?}"))
    }

    fn refused(&self, why: std::fmt::Arguments<'_>) -> Failure {
        Failure::Input(format!("{} {why}; allowed: {}", self.role, self.allowed))
    }
}

/// Where lines go.
pub(crate) enum Destination<'a> {
    Stdout,
    File(&'a str),
}

/// Reads `stdout://` or `file:PATH`.
pub(crate) fn destination(url: &str) -> Result<Destination<'_>, Failure> {
    if url == "stdout://" || url == "stdout:" {
        return Ok(Destination::Stdout);
    }
    url.strip_prefix("file://")
        .or_else(|| url.strip_prefix("file:"))
        .filter(|path| !path.is_empty())
        .map(Destination::File)
        .ok_or_else(|| {
            Failure::Input(format!(
                "destination {url:?} is not known; allowed: stdout://, file:PATH"
            ))
        })
}

/// A transport, and a way to learn that its other end is gone for good.
pub(crate) struct Outlet {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) closed: Arc<tokio::sync::Notify>,
}

/// Makes the transport that a URL names.
pub(crate) fn outlet(url: &str) -> Result<Outlet, Failure> {
    match destination(url)? {
        Destination::Stdout => {
            let pipe = NdjsonPipe::stdout();
            let closed = pipe.closed();
            Ok(Outlet {
                transport: Arc::new(pipe),
                closed,
            })
        }
        Destination::File(path) => Ok(Outlet {
            transport: Arc::new(NdjsonFile::open(path)?),
            closed: Arc::default(),
        }),
    }
}
