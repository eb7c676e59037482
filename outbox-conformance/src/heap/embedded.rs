//! The fixture of a heap in an embedded database.

use super::HeapFixture;
use crate::{Folder, ManualClock};
use async_trait::async_trait;
use outbox_core::{Clock, DlqEntry, DlqHeap};
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A fixture of a heap in an embedded database, which a process opens from a path.
///
/// All handles of a case share one heap, because many embedded databases can be opened only once. The
/// database is closed with the last handle, and opened again for the next one.
pub struct EmbeddedHeap<H, P> {
    folder: Folder,
    clock: ManualClock,
    open: fn(&Path, Clock) -> H,
    plant: P,
    opened: Mutex<Weak<H>>,
}

impl<H, P> EmbeddedHeap<H, P> {
    /// A fixture in a new folder.
    ///
    /// `open` opens the database at a path, or creates it, with the clock of the case. `plant` puts an
    /// entry into it by other means than the heap's trait. Both panic if they fail.
    #[must_use]
    pub fn new<F>(open: fn(&Path, Clock) -> H, plant: P) -> Self
    where
        P: Fn(Arc<H>, DlqEntry) -> F,
    {
        Self {
            folder: Folder::new(),
            clock: ManualClock::new(),
            open,
            plant,
            opened: Mutex::default(),
        }
    }

    fn open(&self, name: &str) -> Arc<H> {
        let path = self.folder.path().join(name);
        Arc::new((self.open)(&path, self.clock.clock()))
    }

    fn shared(&self) -> Arc<H> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.upgrade().unwrap_or_else(|| {
            let heap = self.open("heap");
            *opened = Arc::downgrade(&heap);
            heap
        })
    }
}

impl<H, P> Debug for EmbeddedHeap<H, P> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedHeap")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<H, P, F> HeapFixture for EmbeddedHeap<H, P>
where
    H: DlqHeap + 'static,
    P: Fn(Arc<H>, DlqEntry) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.shared()
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        self.open("neighbour")
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        (self.plant)(self.shared(), entry).await;
    }
}
