//! The suite for a way to append events in the transactions of a data layer, such as sqlx or diesel.
//!
//! ```text
//! // tests/conformance.rs of a crate that appends
//! outbox_conformance::append_suite!(my_layer, MyFixture::new(), transactions, statements, refusals, fields);
//! ```
//!
//! `outbox-core` has no trait for it, because the transaction belongs to its data layer. [`Append`] is what
//! the suite needs of one, with the clauses of the contract.
//!
//! The group `statements` is for a database on a server. In SQLite a statement costs no round trip, and each event
//! is one.
//!
//! Where `append` takes a type that exists in a transaction only, such as `tokio_postgres::Transaction`, the
//! compiler refuses an append outside of one. A layer whose connection knows whether it is in a transaction
//! adds the group `outside`, with an [`OutsideFixture`].

pub mod fields;
pub mod outside;
pub mod refusals;
pub mod statements;
pub mod transactions;

pub use crate::inbox::End;

use crate::check::{check, check_eq, ok, refuse, short};
use crate::store::{LEASE, Store, settle};
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{ClaimLimit, Event, OutboxError, Outcome};
use std::sync::Arc;

/// Appends in the transactions of a data layer.
///
/// - **A1** The events of a transaction that commits appear in the outbox, in the order of the appends.
/// - **A2** The events of a transaction that rolls back never appear.
/// - **A3** The events after a savepoint that is rolled back never appear, and the others of the transaction
///   do.
/// - **A4** An append with an id or an idempotency token that is taken is refused as `Duplicate`. Taken is
///   what an event of the same append, of the same transaction or of a committed one has.
/// - **A5** After a refused append and a rollback to the savepoint before it, the transaction continues.
/// - **A6** An append of any number of events is one statement where statements cost round trips, and one of
///   no events is none.
/// - **A7** An event arrives with all its fields as they were appended, with times to the microsecond.
/// - **A8** An append with an event that is outside of its limits is `Invalid`. It sends nothing, so the
///   transaction continues.
/// - **A9** If the tables are missing, an append is `Invalid`, and its error says how to migrate.
/// - **A10** The refusal of a server has the error of the driver as its source.
/// - **A11** Outside of a transaction an append is `Invalid` and sends nothing, if the layer knows its
///   transactions.
#[async_trait]
pub trait Append: Send + Sync {
    /// Starts a transaction of the layer, does the steps, ends it, and returns the result of each append.
    ///
    /// The steps after a refused append are done too. A transaction that fails to commit after a refused
    /// append has rolled back, and the fixture returns. Any other failure of the layer panics.
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>>;
}

/// A step of a transaction.
#[derive(Clone, Debug)]
pub enum Step {
    /// Appends events with one call.
    Append(Vec<Event>),
    /// Sets a savepoint. One at a time is set; if it is not rolled back, it ends with the transaction.
    Savepoint,
    /// Rolls back to the savepoint, which ends it.
    RollBackToSavepoint,
}

/// One empty outbox for one case, and a data layer on its database.
#[async_trait]
pub trait AppendFixture: Append + Sized + 'static {
    /// A store on the same outbox.
    async fn store(&self) -> Arc<dyn Store>;

    /// How many statements have inserted into the outbox, also in transactions that rolled back and where
    /// the statement was refused. On a server, a trigger for each statement counts them in a sequence, which
    /// no rollback undoes.
    async fn statements(&self) -> u64;

    /// Removes the tables of the outbox.
    async fn remove_tables(&self);
}

/// A fixture of a layer whose connection knows whether it is in a transaction, for the group [`outside`].
#[async_trait]
pub trait OutsideFixture: AppendFixture {
    /// Appends with one call on a connection that is in no transaction, on which a transaction was before.
    async fn append_outside(&self, events: &[Event]) -> Result<(), OutboxError>;
}

suite! {
    $ /// The suite for a way to append events.
    append_suite of append:
    transactions {
        committed_events_appear_in_their_order
        rolled_back_events_never_appear
        events_of_a_rolled_back_savepoint_never_appear
        an_append_of_no_events_sends_nothing
    }
    statements {
        an_append_is_one_statement
    }
    refusals {
        a_taken_id_is_a_duplicate
        a_taken_token_is_a_duplicate
        a_transaction_continues_after_a_refusal
        an_invalid_event_is_refused_before_anything_is_sent
        without_tables_an_append_says_how_to_migrate
        a_refusal_keeps_the_error_of_the_driver
    }
    fields {
        odd_fields_arrive_unchanged
        a_payload_of_16_mb_arrives_unchanged
        a_thousand_events_arrive_unchanged
    }
    outside {
        an_append_outside_of_a_transaction_is_refused
    }
}

/// Does the steps in one transaction, in which each append must succeed, and commits.
pub(crate) async fn commit<F: AppendFixture>(fixture: &F, steps: &[Step]) {
    for result in transact(fixture, steps, End::Commit).await {
        ok(result);
    }
}

/// Does the steps in one transaction, and returns a result for each append.
pub(crate) async fn transact<F: AppendFixture>(
    fixture: &F,
    steps: &[Step],
    end: End,
) -> Vec<Result<(), OutboxError>> {
    let appends = steps.iter().filter(|step| matches!(step, Step::Append(_)));
    let results = fixture.transact(steps, end).await;
    check_eq!(results.len(), appends.count(), "results of appends");
    results
}

/// The result of a transaction with one append, which rolls back.
pub(crate) async fn refused<F: AppendFixture>(fixture: &F, events: &[Event]) -> OutboxError {
    let step = Step::Append(events.to_vec());
    let results = transact(fixture, &[step], End::RollBack).await;
    match results.into_iter().next() {
        Some(Err(error)) => error,
        result => refuse!("expected a refused append, came {result:?}"),
    }
}

/// Checks that exactly these events appear in the outbox, those of one key in this order, and removes them.
pub(crate) async fn appear<F: AppendFixture>(fixture: &F, expected: &[Event]) {
    let store = fixture.store().await;
    let limit = ClaimLimit::events(1000).bytes(usize::MAX);
    let mut came: Vec<Event> = Vec::new();
    loop {
        let claim = ok(store.claim(limit, LEASE).await);
        if claim.events.is_empty() {
            break;
        }
        settle(&store, &claim, &Outcome::Published).await;
        came.extend(claim.events.into_iter().map(|claimed| claimed.event));
    }
    check_eq!(came.len(), expected.len(), "events in the outbox");
    for event in expected {
        let of_its_key = |other: &Event| other.ordering_key == event.ordering_key;
        let Some(number) = came.iter().position(of_its_key) else {
            refuse!("expected the event {}, came none of its key", short(event));
        };
        let found = came.remove(number);
        // A large payload takes a second to print.
        check!(
            found.payload == event.payload,
            "expected the payload of {} bytes of {}, came another of {} bytes",
            event.payload.len(),
            event.id,
            found.payload.len()
        );
        check_eq!(found, *event, "an event in the outbox");
    }
}
