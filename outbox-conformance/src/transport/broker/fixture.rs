//! The broker in memory as a fixture of the suite.

use super::super::{
    BlockingBroker, ClosingBroker, LimitedBroker, ManyDestinations, RemovableDestination,
    RestrictedBroker, RoutingBroker, StoppableBroker, ThrottlingBroker, TransportFixture,
};
use super::{MemoryBroker, destination};
use async_trait::async_trait;
use outbox_core::{Event, PublishErrorKind, Transport};
use std::sync::Arc;

#[async_trait]
impl TransportFixture for MemoryBroker {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.clone())
    }

    async fn received(&self) -> Vec<Event> {
        self.events()
    }
}

#[async_trait]
impl StoppableBroker for MemoryBroker {
    async fn stop(&self) {
        self.set_stopped(true);
    }

    async fn start(&self) {
        self.set_stopped(false);
    }
}

/// There are no connections, so it is as an outage.
#[async_trait]
impl BlockingBroker for MemoryBroker {
    async fn block(&self) {
        self.set_stopped(true);
    }

    async fn unblock(&self) {
        self.set_stopped(false);
    }
}

#[async_trait]
impl LimitedBroker for MemoryBroker {
    async fn too_large(&self) -> Event {
        Event::new("conformance.limits", vec![0; Self::MAX_PAYLOAD + 1])
    }
}

#[async_trait]
impl ThrottlingBroker for MemoryBroker {
    async fn fill(&self, events: usize) {
        self.set_room(Some(events));
    }

    async fn make_room(&self) {
        self.set_room(None);
    }
}

#[async_trait]
impl RemovableDestination for MemoryBroker {
    async fn remove(&self, event: &Event) {
        self.set_missing(destination(event), true);
    }

    async fn restore(&self, event: &Event) {
        self.set_missing(destination(event), false);
    }
}

#[async_trait]
impl ManyDestinations for MemoryBroker {
    async fn elsewhere(&self) -> Event {
        Event::new("elsewhere.conformance", "x")
    }
}

#[async_trait]
impl RoutingBroker for MemoryBroker {
    async fn unroutable(&self) -> Event {
        self.set_missing("nowhere", true);
        Event::new("nowhere.conformance", "x")
    }
}

#[async_trait]
impl RestrictedBroker for MemoryBroker {
    async fn forbidden(&self) -> Event {
        self.set_missing("forbidden", true);
        Event::new("forbidden.conformance", "x")
    }
}

#[async_trait]
impl ClosingBroker for MemoryBroker {
    async fn closing(&self) -> (Event, PublishErrorKind) {
        (self.too_large().await, PublishErrorKind::Permanent)
    }
}
