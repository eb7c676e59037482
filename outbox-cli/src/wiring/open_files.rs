//! The SQLite files that the command has open.
//!
//! A process that ends cuts off the threads that work on them. What was committed is then only in the
//! write-ahead log, and a copy of the database file alone lacks it.

use outbox_core::OutboxError;
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::SqliteStore;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long the end of the command waits for all files.
const PATIENCE: Duration = Duration::from_secs(5);

static OPEN: Mutex<Vec<(Owner, OpenFile)>> = Mutex::new(Vec::new());

/// For whom files are open: a service of the relay, or the command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner(u64);

impl Owner {
    /// A new one.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A connection that is closed before the command ends.
pub(super) enum OpenFile {
    Store(SqliteStore),
    Heap(SqliteDlqHeap),
}

impl OpenFile {
    pub(super) fn register(self, owner: Owner) {
        open().push((owner, self));
    }

    async fn close(&self) -> Result<(), OutboxError> {
        match self {
            Self::Store(store) => store.close().await,
            Self::Heap(heap) => heap.close().await,
        }
    }
}

fn open() -> MutexGuard<'static, Vec<(Owner, OpenFile)>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes all files, each with what was committed to it, within a time.
pub(crate) async fn close_files() {
    let files = mem::take(&mut *open());
    close(files).await;
}

/// Closes those of one owner.
pub(super) async fn close_files_of(owner: Owner) {
    let files: Vec<_> = open().extract_if(.., |(of, _)| *of == owner).collect();
    close(files).await;
}

async fn close(files: Vec<(Owner, OpenFile)>) {
    let close = async {
        for (_, file) in &files {
            if let Err(error) = file.close().await {
                tracing::warn!(%error, "a SQLite file is not closed");
            }
        }
    };
    if timeout(PATIENCE, close).await.is_err() {
        tracing::warn!("the SQLite files are not closed within {PATIENCE:?}");
    }
}
