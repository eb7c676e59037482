//! The open claims of this handle. A settlement needs to know what its claim read.

use crate::PostgresStore;
use crate::draft::Draft;
use crate::sql::LANES;
use outbox_core::{ClaimToken, OutboxError};
use outbox_driver_postgres::PgUuid;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// The most claims that a handle keeps. A worker has a few, and some whose events it keeps.
const CLAIMS: usize = 1_000;

/// S12: the open claims of a handle leave a quarter of the lanes to other handles.
const SHARE: usize = LANES - LANES / 4;

/// How often a handle that waits for the end of its claims looks for the end of their leases.
const LEASES: Duration = Duration::from_millis(100);

const WAIT: &str = "wait_for_work";

/// Shared by the clones of a handle.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    inner: Mutex<Inner>,
    /// A claim ended, or has fewer lanes.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each claim with its number in the order of the claims.
    open: HashMap<ClaimToken, (u64, Arc<Draft>)>,
    count: u64,
    longest_lease: Duration,
}

impl Claims {
    /// Keeps a claim for its settlement. If there are too many, the oldest is dropped.
    pub(crate) fn keep(&self, token: ClaimToken, draft: Draft) {
        let mut inner = self.lock();
        inner.count += 1;
        let count = inner.count;
        inner.open.insert(token, (count, Arc::new(draft)));
        if inner.open.len() > CLAIMS {
            let oldest = inner.open.iter().min_by_key(|(_, (count, _))| *count);
            if let Some(oldest) = oldest.map(|(token, _)| *token) {
                inner.open.remove(&oldest);
            }
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self, token: ClaimToken) -> Option<Arc<Draft>> {
        let inner = self.lock();
        inner.open.get(&token).map(|(_, draft)| Arc::clone(draft))
    }

    pub(crate) fn remove(&self, token: ClaimToken) {
        self.lock().open.remove(&token);
        self.changed.notify_waiters();
    }

    /// Returns at the next change of the claims. It misses none after this call.
    fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The claims that have lanes, and how many lanes.
    fn with_lanes(&self) -> (Vec<PgUuid>, usize) {
        let inner = self.lock();
        let open = inner.open.iter().map(|(token, (_, draft))| (token, draft));
        let open = open.filter(|(_, draft)| !draft.lanes.is_empty());
        let lanes = open.clone().map(|(_, draft)| draft.lanes.len()).sum();
        (
            open.map(|(token, _)| PgUuid(*token.as_uuid())).collect(),
            lanes,
        )
    }

    /// Notes the lease of a claim that starts.
    pub(crate) fn note_lease(&self, lease: Duration) {
        let mut inner = self.lock();
        inner.longest_lease = inner.longest_lease.max(lease);
    }

    /// The longest lease of a claim of this handle, but at least a minute.
    pub(crate) fn longest_lease(&self) -> Duration {
        self.lock().longest_lease.max(Duration::from_secs(60))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresStore {
    /// S12: how many lanes the next claim may take: all for the first open claim of this handle, and its
    /// share for all of its open claims together. The server is asked once the share is used up, because a
    /// claim whose worker went away has its lanes only until the end of its lease.
    pub(crate) async fn lanes_left(&self, operation: &'static str) -> Result<usize, OutboxError> {
        let (tokens, lanes) = self.claims.with_lanes();
        if tokens.is_empty() {
            return Ok(LANES);
        }
        if lanes < SHARE {
            return Ok(SHARE - lanes);
        }
        let query = sqlx::query(self.statements().own_lanes.clone()).bind(tokens);
        let read = |row: &PgRow| row.try_get::<i64, _>(0);
        let lanes = self.driver.fetch_one(operation, query, read).await?;
        let lanes = usize::try_from(lanes).unwrap_or_default();
        Ok(if lanes == 0 {
            LANES
        } else {
            SHARE.saturating_sub(lanes)
        })
    }

    /// S12: waits while the open claims of this handle have its share of the lanes. Returns false after one of
    /// them ended, or after `at_most`: then the next claim may find work.
    pub(crate) async fn share_is_free(&self, at_most: Duration) -> Result<bool, OutboxError> {
        let start = Instant::now();
        loop {
            let changed = self.claims.changed();
            let rest = at_most.saturating_sub(start.elapsed());
            if self.lanes_left(WAIT).await? > 0 {
                return Ok(true);
            }
            tokio::select! {
                () = tokio::time::sleep(rest.min(LEASES)) => {}
                () = changed => return Ok(false),
            }
            if rest.is_zero() {
                return Ok(false);
            }
        }
    }
}
