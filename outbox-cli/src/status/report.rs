//! What a store says.

use super::since;
use crate::failure::Failure;
use crate::settings::{Place, Urls};
use crate::wiring::{self, Store};
use outbox_core::{
    Backlog, DeadLetterFilter, DeadLetterGroup, DlqHeap, HeapSize, Overview, RelayRecord,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A relay reports every ten seconds, so it has missed two reports.
pub(crate) const SILENT: Duration = Duration::from_secs(30);

/// How many relays, claims, waiting events and blocked keys are looked at.
const LOOKED_AT: usize = 100;

/// How many groups of dead letters are looked at.
const GROUPS: usize = 100;

/// Dead letters of this time fail now.
const RECENT: Duration = Duration::from_secs(3600);

/// A store, which is opened at the first look.
pub(super) struct Watched {
    name: String,
    urls: Urls,
    open: Option<(Store, Arc<dyn DlqHeap>)>,
}

impl Watched {
    pub(super) fn new(place: &Place) -> Self {
        Self {
            name: place.label().to_owned(),
            urls: place.urls.clone(),
            open: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn read(&mut self) -> Result<Report, Failure> {
        let (store, heap) = if let Some(open) = self.open.take() {
            open
        } else {
            let store = wiring::open_store(&self.urls.store).await?;
            (store, wiring::open_heap(&self.urls.heap).await?)
        };
        let (store, heap) = self.open.insert((store, heap));
        let backlog = store.storage.backlog().await?;
        let overview = store.registry.overview(LOOKED_AT).await?;
        let heap = heap.size().await?.unwrap_or_default();
        let groups = if backlog.dead_letters == 0 {
            Vec::new()
        } else {
            let all = DeadLetterFilter::all();
            store.dead_letters.statistics(&all, GROUPS).await?
        };
        Ok(Report::new(
            self.name.clone(),
            backlog,
            overview,
            heap,
            groups,
        ))
    }
}

/// What one look at a store has found.
pub(super) struct Report {
    pub(super) name: String,
    pub(super) backlog: Backlog,
    pub(super) overview: Overview,
    pub(super) heap: HeapSize,
    /// The dead letters of the last hour, by type and error.
    pub(super) recent: Vec<DeadLetterGroup>,
    /// Of the oldest pending event, by this machine's clock.
    pub(super) age: Option<Duration>,
}

impl Report {
    fn new(
        name: String,
        backlog: Backlog,
        overview: Overview,
        heap: HeapSize,
        mut groups: Vec<DeadLetterGroup>,
    ) -> Self {
        groups.retain(|group| since(group.newest, overview.now) < RECENT);
        let oldest = backlog.oldest_pending;
        Self {
            age: oldest.map(|oldest| since(oldest, SystemTime::now())),
            recent: groups,
            name,
            backlog,
            overview,
            heap,
        }
    }

    /// How long ago that was, by the store's clock.
    pub(super) fn ago(&self, time: SystemTime) -> Duration {
        since(time, self.overview.now)
    }

    /// How long until then, by the store's clock. `None` if it is over.
    pub(super) fn until(&self, time: SystemTime) -> Option<Duration> {
        (time > self.overview.now).then(|| since(self.overview.now, time))
    }

    pub(super) fn is_silent(&self, relay: &RelayRecord) -> bool {
        self.ago(relay.heard) > SILENT
    }

    /// The relays that were heard lately.
    pub(super) fn live(&self) -> impl Iterator<Item = &RelayRecord> {
        let relays = self.overview.relays.iter();
        relays.filter(|relay| !self.is_silent(relay))
    }
}
