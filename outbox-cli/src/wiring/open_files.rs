//! The SQLite files that the command has open.
//!
//! A process that ends cuts off the threads that work on them. What was committed is then only in the
//! write-ahead log, and a copy of the database file alone lacks it.

use outbox_core::OutboxError;
use outbox_dlq_sqlite::SqliteDlqHeap;
use outbox_store_sqlite::SqliteStore;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long the end of the command waits for all files.
const PATIENCE: Duration = Duration::from_secs(5);

static OPEN: Mutex<Vec<OpenFile>> = Mutex::new(Vec::new());

/// A connection that is closed before the command ends.
pub(super) enum OpenFile {
    Store(SqliteStore),
    Heap(SqliteDlqHeap),
}

impl OpenFile {
    pub(super) fn register(self) {
        OPEN.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    async fn close(&self) -> Result<(), OutboxError> {
        match self {
            Self::Store(store) => store.close().await,
            Self::Heap(heap) => heap.close().await,
        }
    }
}

/// Closes all files, each with what was committed to it, within a time.
pub(crate) async fn close_files() {
    let files = mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner));
    let close = async {
        for file in &files {
            if let Err(error) = file.close().await {
                tracing::warn!(%error, "a SQLite file is not closed");
            }
        }
    };
    if timeout(PATIENCE, close).await.is_err() {
        tracing::warn!("the SQLite files are not closed within {PATIENCE:?}");
    }
}
