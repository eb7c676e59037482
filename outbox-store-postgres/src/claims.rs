//! The open claims of this handle. A settlement needs to know what its claim read.

use crate::draft::Draft;
use outbox_core::ClaimToken;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most claims that a handle keeps. A worker has one or a few.
const CLAIMS: usize = 1_000;

/// Shared by the clones of a handle.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Inner>);

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
    }

    pub(crate) fn get(&self, token: ClaimToken) -> Option<Arc<Draft>> {
        let inner = self.lock();
        inner.open.get(&token).map(|(_, draft)| Arc::clone(draft))
    }

    pub(crate) fn remove(&self, token: ClaimToken) {
        self.lock().open.remove(&token);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
