//! The suite for a [`Transport`].
//!
//! ```text
//! // tests/conformance.rs of a transport
//! outbox_conformance::transport_suite!(my_broker, MyFixture::new(), delivery, outage, limits);
//! ```
//!
//! A transport that keeps order adds `order`. One whose destinations can be missing adds `missing`,
//! one that has several also `destinations`, and one that looks for them in `check` also `checks`.

mod broker;
pub mod checks;
pub mod delivery;
pub mod destinations;
pub mod limits;
pub mod missing;
pub mod order;
pub mod outage;

pub use broker::MemoryBroker;

use crate::check::{check, check_eq};
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use std::borrow::Cow;
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

/// A fixture whose destination can be removed; needed by the groups [`missing`] and [`checks`].
#[async_trait]
pub trait RemovableDestination: TransportFixture {
    /// Removes the destination of the event, such as its topic, from the broker, or takes away the
    /// right to use it.
    async fn remove(&self, event: &Event);

    /// Puts it back, empty.
    async fn restore(&self, event: &Event);
}

/// A fixture with several destinations; needed by the group [`destinations`].
/// [`received`](TransportFixture::received) has the events of all.
#[async_trait]
pub trait ManyDestinations: RemovableDestination {
    /// An event for another destination than that of the types `conformance.…`.
    async fn elsewhere(&self) -> Event;
}

/// Checks that each event was accepted.
#[track_caller]
pub(crate) fn check_all_ok(answers: &[Result<(), PublishError>]) {
    check!(
        answers.iter().all(Result::is_ok),
        "expected Ok for each event, came {answers:?}"
    );
}

/// Checks that each event was refused as one whose destination, which the error names, is missing.
#[track_caller]
pub(crate) fn check_all_missing(
    transport: &dyn Transport,
    events: &[Event],
    answers: &[Result<(), PublishError>],
) {
    check_eq!(answers.len(), events.len(), "the number of answers");
    for (event, answer) in events.iter().zip(answers) {
        let error = answer.as_ref().map_err(of_error);
        let expected = (
            PublishErrorKind::Misconfigured,
            destination(transport, event),
        );
        check_eq!(error, Err(expected), "an answer without the destination");
    }
}

/// What an error is about.
pub(crate) fn of_error(error: &PublishError) -> (PublishErrorKind, Option<String>) {
    (error.kind(), error.destination().map(str::to_owned))
}

/// The name of the destination of an event.
pub(crate) fn destination(transport: &dyn Transport, event: &Event) -> Option<String> {
    transport.destination(event).map(Cow::into_owned)
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
    missing {
        a_missing_destination_is_misconfigured_until_it_is_restored
    }
    destinations {
        a_missing_destination_does_not_affect_another
    }
    checks {
        a_check_of_a_sound_destination_finds_no_problem
        a_check_names_a_missing_destination
    }
}
