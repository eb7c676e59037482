//! The suite for a [`Transport`].
//!
//! ```text
//! // tests/conformance.rs of a transport
//! outbox_conformance::transport_suite!(my_broker, MyFixture::new(), delivery, outage, limits);
//! ```
//!
//! A transport that keeps order adds `order`.

mod broker;
pub mod delivery;
pub mod limits;
pub mod order;
pub mod outage;

pub use broker::MemoryBroker;

use crate::check::check;
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport};
use std::sync::Arc;

/// One broker with one empty destination, for one case.
#[async_trait]
pub trait TransportFixture: Send + Sync + Sized + 'static {
    /// An independent transport to the destination, as another process would make it.
    async fn transport(&self) -> Arc<dyn Transport>;

    /// What has arrived so far, in order, read back by other means than the transport.
    async fn received(&self) -> Vec<Event>;
}

/// A fixture whose broker can be stopped; needed by the group [`outage`].
#[async_trait]
pub trait StoppableBroker: TransportFixture {
    /// Makes the broker unreachable.
    async fn stop(&self);

    /// Brings it back, with what it had taken before.
    async fn start(&self);
}

/// A fixture whose broker refuses large events; needed by the group [`limits`].
#[async_trait]
pub trait LimitedBroker: TransportFixture {
    /// An event that the broker can never take.
    async fn too_large(&self) -> Event;
}

/// Checks that each event was accepted.
#[track_caller]
pub(crate) fn check_all_ok(answers: &[Result<(), PublishError>]) {
    check!(
        answers.iter().all(Result::is_ok),
        "expected Ok for each event, came {answers:?}"
    );
}

suite! {
    $ /// The suite for a [`Transport`](outbox_core::Transport).
    transport_suite of transport:
    delivery {
        an_empty_call_is_answered_empty
        every_event_is_answered_in_order
        what_is_answered_ok_is_at_the_broker
        an_event_arrives_unchanged
        calls_one_after_another_keep_their_order
        concurrent_calls_all_arrive
    }
    outage {
        an_outage_is_unavailable_and_ends
    }
    limits {
        a_too_large_event_is_permanent_and_its_neighbours_arrive
    }
    order {
        events_of_one_key_in_a_call_keep_their_order
        no_event_is_taken_after_a_refused_one_of_its_key
    }
}
