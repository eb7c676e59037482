//! The suite for a [`Transport`].
//!
//! ```text
//! // tests/conformance.rs of a transport
//! outbox_conformance::transport_suite!(my_broker, MyFixture::new(), delivery, outage, limits);
//! ```
//!
//! Each other group needs an ability of the broker or of the test, and a trait with one or two methods:
//!
//! | group | add it if | the fixture implements |
//! |---|---|---|
//! | [`delivery`], [`cancellation`] | always | [`TransportFixture`] |
//! | [`wire`] | the broker is reached over TCP | [`WireFixture`] |
//! | [`outage`] | the test can stop the broker | [`StoppableBroker`] |
//! | [`blocking`] | the broker can hold back its publishers | [`BlockingBroker`] |
//! | [`limits`] | the broker refuses large events | [`LimitedBroker`] |
//! | [`throttling`] | a destination can be full | [`ThrottlingBroker`] |
//! | [`order`] | the transport keeps order | [`LimitedBroker`] |
//! | [`duplicates`] | the broker recognises an event that it has | [`TransportFixture`] |
//! | [`missing`] | a destination can be missing | [`RemovableDestination`] |
//! | [`checks`] | `check` looks for destinations | [`RemovableDestination`] |
//! | [`destinations`] | there are several destinations | [`ManyDestinations`] |
//! | [`unroutable`] | the broker can take an event and route it nowhere | [`RoutingBroker`] |
//! | [`rights`] | the broker has rights | [`RestrictedBroker`] |
//! | [`closing`] | an event can close the channel of others | [`ClosingBroker`] |
//!
//! The calls of the traps have several events of a key if the transport keeps order, so each trap also
//! checks the order.

pub mod blocking;
mod broker;
mod call;
pub mod cancellation;
pub mod checks;
pub mod closing;
pub mod delivery;
pub mod destinations;
pub mod duplicates;
pub mod limits;
pub mod missing;
pub mod order;
pub mod outage;
pub mod rights;
pub mod throttling;
pub mod unroutable;
pub mod wire;

pub use broker::MemoryBroker;

use crate::Wire;
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{Event, PublishErrorKind, Transport};
use std::sync::Arc;
use std::time::Duration;

/// One broker with one empty destination, for one case.
#[async_trait]
pub trait TransportFixture: Send + Sync + Sized + 'static {
    /// An independent transport to the destination, as another process would make it.
    async fn transport(&self) -> Arc<dyn Transport>;

    /// The events that have arrived so far, in order, read back without the transport.
    async fn received(&self) -> Vec<Event>;

    /// The time within which each call answers, also while the broker is silent. The provided form is
    /// 30 seconds.
    fn answers_within(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// A fixture whose broker is reached over a wire, such as a [`TcpWire`](crate::TcpWire); needed by the
/// group [`wire`].
///
/// The wire is the test's own, so this needs no ability of the broker: a transport that takes an
/// address connects to the port of the wire.
#[async_trait]
pub trait WireFixture: TransportFixture {
    /// A transport that reaches the broker only over the wire.
    async fn wired(&self) -> Arc<dyn Transport>;

    /// The wire.
    fn wire(&self) -> &dyn Wire;
}

/// A fixture whose broker can be stopped; needed by the group [`outage`].
#[async_trait]
pub trait StoppableBroker: TransportFixture {
    /// Makes the broker unreachable.
    async fn stop(&self);

    /// Brings it back, with what it had taken before.
    async fn start(&self);
}

/// A fixture whose broker can hold back its publishers, as RabbitMQ does while it is short of memory;
/// needed by the group [`blocking`].
#[async_trait]
pub trait BlockingBroker: TransportFixture {
    /// Makes the broker take nothing from publishers. Their connections stay open.
    async fn block(&self);

    /// Ends that.
    async fn unblock(&self);
}

/// A fixture whose broker refuses large events; needed by the groups [`limits`] and [`order`].
#[async_trait]
pub trait LimitedBroker: TransportFixture {
    /// An event that the broker can never take.
    async fn too_large(&self) -> Event;
}

/// A fixture whose destination can be full; needed by the group [`throttling`].
#[async_trait]
pub trait ThrottlingBroker: TransportFixture {
    /// Leaves room for about `events` more events, at most for 50. A broker that cannot count has no
    /// room at once.
    async fn fill(&self, events: usize);

    /// Gives the destination room for all events.
    async fn make_room(&self);
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

/// A fixture whose broker takes some events and routes them nowhere; needed by the group
/// [`unroutable`].
#[async_trait]
pub trait RoutingBroker: TransportFixture {
    /// An event that is routed nowhere, such as one whose topic no queue is bound to.
    async fn unroutable(&self) -> Event;
}

/// A fixture whose transport may not use a destination; needed by the group [`rights`].
#[async_trait]
pub trait RestrictedBroker: TransportFixture {
    /// An event for this destination.
    async fn forbidden(&self) -> Event;
}

/// A fixture whose broker closes the channel, or the connection, of an event that it refuses; needed
/// by the group [`closing`].
#[async_trait]
pub trait ClosingBroker: TransportFixture {
    /// Such an event, and the kind of its error.
    async fn closing(&self) -> (Event, PublishErrorKind);
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
        an_event_that_is_published_again_is_accepted
        a_call_with_a_thousand_events_is_published
        a_call_with_16_mebibytes_is_published
    }
    cancellation {
        a_dropped_call_leaves_the_transport_working
    }
    wire {
        a_cut_call_is_ok_only_for_events_at_the_broker
        an_answer_that_does_not_come_is_unavailable_in_time
        a_silent_broker_is_unavailable_in_time
        a_late_answer_is_not_that_of_a_later_call
    }
    outage {
        an_outage_is_unavailable_and_ends
    }
    blocking {
        a_blocked_broker_is_unavailable_until_it_is_unblocked
    }
    limits {
        a_too_large_event_is_permanent_and_its_neighbours_arrive
    }
    throttling {
        a_full_destination_is_throttled_until_it_has_room
    }
    order {
        events_of_one_key_in_a_call_keep_their_order
        no_event_is_taken_after_a_refused_one_of_its_key
    }
    duplicates {
        an_event_that_is_published_again_arrives_once
    }
    missing {
        a_missing_destination_is_misconfigured_until_it_is_restored
        a_destination_may_be_missing_before_the_first_call
        a_dropped_call_does_not_answer_for_a_missing_destination
    }
    destinations {
        a_missing_destination_does_not_affect_another
    }
    checks {
        a_check_of_a_sound_destination_finds_no_problem
        a_check_names_a_missing_destination
    }
    unroutable {
        an_unroutable_event_is_misconfigured_and_others_arrive
        a_dropped_call_does_not_answer_for_an_unroutable_event
    }
    rights {
        a_forbidden_destination_is_misconfigured_and_others_arrive
    }
    closing {
        events_in_flight_are_not_blamed_when_their_channel_closes
    }
}
