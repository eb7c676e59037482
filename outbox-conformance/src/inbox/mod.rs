//! The suite for an inbox: a consumer's table of the events that it has handled.
//!
//! ```text
//! // tests/conformance.rs of an inbox
//! outbox_conformance::inbox_suite!(my_inbox, MyFixture::new(), delivery, clean_up, cancellation);
//! ```
//!
//! `outbox-core` has no trait for inboxes, because the transaction in which a consumer accepts an event
//! belongs to its driver. [`Inbox`] is what the suite needs of one, with the clauses of the contract.

pub mod cancellation;
pub mod clean_up;
pub mod delivery;

use crate::check::{check, ok};
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{EventId, OutboxError};
use std::sync::Arc;
use std::time::Duration;

/// The inbox of one consumer.
///
/// - **I1** The first delivery of an event is accepted. Each later one is refused, from any handle.
/// - **I2** A delivery that rolls back leaves no trace: the next delivery is the first again.
/// - **I3** Of concurrent deliveries of one event that commit, exactly one is accepted.
/// - **I4** Consumers with different names do not affect each other.
/// - **I5** Two ids are the same event only if all of their 128 bits are equal.
/// - **I6** A clean-up forgets up to `limit` events, the oldest first, and returns their number. The
///   next delivery of a forgotten event is the first again.
/// - **I7** A clean-up forgets no event that was accepted within the retention.
/// - **I8** A delivery whose future is dropped is applied whole or not at all. A call whose future is
///   dropped blocks no later call.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Delivers an event to the consumer, and returns whether the inbox accepted it.
    ///
    /// It starts a transaction on its own connection, and asks the inbox. If the inbox accepts the
    /// event, it adds 1 to the [`work`](InboxFixture::work) of the consumer for this event. Then it ends the
    /// transaction.
    ///
    /// # Errors
    ///
    /// Those of the inbox.
    async fn deliver(&self, id: EventId, end: End) -> Result<bool, OutboxError>;

    /// Forgets up to `limit` events that were accepted more than `retention` ago.
    ///
    /// # Errors
    ///
    /// Those of the inbox.
    async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError>;
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It commits.
    Commit,
    /// It rolls back.
    RollBack,
}

/// One empty inbox for one case.
#[async_trait]
pub trait InboxFixture: Send + Sync + Sized + 'static {
    /// An independent handle to the inbox of `consumer`, as another process would open it.
    async fn handle(&self, consumer: &str) -> Arc<dyn Inbox>;

    /// How often the consumer has done the work of the event in transactions that committed.
    async fn work(&self, consumer: &str, id: EventId) -> usize;

    /// Makes each accepted event older by `time`.
    async fn elapse(&self, time: Duration);
}

suite! {
    $ /// The suite for an inbox.
    inbox_suite of inbox:
    delivery {
        an_event_is_accepted_once
        a_delivery_after_a_rollback_is_accepted
        one_of_several_concurrent_deliveries_is_accepted
        a_concurrent_rollback_hides_no_event
        consumers_do_not_affect_each_other
        ids_that_differ_in_one_bit_are_different_events
    }
    clean_up {
        a_clean_up_forgets_old_events_up_to_its_limit
        a_clean_up_forgets_the_oldest_events_first
        a_clean_up_keeps_younger_events
        a_clean_up_keeps_the_events_of_other_consumers
        concurrent_clean_ups_forget_each_event_once
    }
    cancellation {
        the_work_of_a_dropped_delivery_is_done_once
        a_dropped_clean_up_keeps_younger_events
    }
}

/// The consumer of most cases.
pub(crate) const CONSUMER: &str = "billing";

/// Independent handles to the inbox of one consumer.
pub(crate) async fn handles<F: InboxFixture>(fixture: &F, count: usize) -> Vec<Arc<dyn Inbox>> {
    let mut handles = Vec::new();
    for _ in 0..count {
        handles.push(fixture.handle(CONSUMER).await);
    }
    handles
}

/// Delivers and commits.
pub(crate) async fn deliver(inbox: &dyn Inbox, id: EventId) -> bool {
    ok(inbox.deliver(id, End::Commit).await)
}

/// Delivers events that must be new, and commits each.
pub(crate) async fn accept(inbox: &dyn Inbox, ids: &[EventId]) {
    for id in ids {
        check!(
            deliver(inbox, *id).await,
            "expected the first delivery of {id} to be accepted, came a refusal"
        );
    }
}

/// Distinct new events.
pub(crate) fn some_ids(count: usize) -> Vec<EventId> {
    (0..count).map(|_| EventId::new()).collect()
}

/// Delivers an event that must not be new, and commits.
pub(crate) async fn refuse(inbox: &dyn Inbox, id: EventId, what: &str) {
    check!(
        !deliver(inbox, id).await,
        "{what}: expected a later delivery of {id} to be refused, came an acceptance"
    );
}
