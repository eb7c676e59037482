//! The suite for an [`OutboxStorage`] with its [`DeadLetters`].
//!
//! ```text
//! // tests/conformance.rs of a store
//! outbox_conformance::store_suite!(
//!     my_store, MyFixture::new(), claims, settlements, outcomes, kept, flights, held, budgets, shares,
//!     races, quarantine, dead_letters, cancellation, passes,
//! );
//! ```
//!
//! A store on which two transactions can be open at once adds `late`, one that can block keys adds
//! `holding`, one whose tables other programs can write to adds `edits`, one that other programs
//! share adds `bystanders`, one that can be restored from an older copy adds `restoring`, and one
//! on a connection that a test can cut adds `wire`.

pub mod budgets;
pub mod bystanders;
pub mod cancellation;
pub mod claims;
pub mod dead_letters;
pub mod edits;
pub mod flights;
pub mod held;
pub mod holding;
pub mod kept;
pub mod late;
pub mod outcomes;
pub mod passes;
pub mod quarantine;
pub mod races;
pub mod restoring;
pub mod settlements;
pub mod shares;
pub mod wire;

mod mixes;
mod orders;
mod steps;

use crate::Wire;
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimedEvent, DeadLetter, DeadLetters, Event, EventId, OutboxError,
    OutboxStorage, Outcome, Settlement,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A store in both of its roles.
pub trait Store: OutboxStorage + DeadLetters {}

impl<S: OutboxStorage + DeadLetters> Store for S {}

/// A transaction of the application's. Dropping it rolls back.
pub trait AppTransaction: Send {
    /// Appends events in the transaction.
    ///
    /// # Errors
    ///
    /// Those of the store's own way of appending.
    fn append(&mut self, events: &[Event]) -> Result<(), OutboxError>;

    /// Commits.
    ///
    /// # Errors
    ///
    /// Those of the store's own way of committing.
    fn commit(self: Box<Self>) -> Result<(), OutboxError>;
}

/// One empty store for one case.
#[async_trait]
pub trait StoreFixture: Send + Sync + Sized + 'static {
    /// An independent handle to the store, as another process would open it.
    async fn handle(&self) -> Arc<dyn Store>;

    /// Starts a transaction; may block while another one writes.
    fn begin(&self) -> Box<dyn AppTransaction>;

    /// Moves the store's clock forward by `time`.
    async fn elapse(&self, time: Duration);

    /// Ends the calls whose callers are gone. After it returns, no dropped future and no connection that
    /// was cut can change the store.
    ///
    /// The default does nothing. It suits a backend that executes or discards a dropped call before it
    /// executes a later one. If a server may still execute such a call, close all connections here and
    /// wait until the server has ended them; the handles connect again.
    async fn end_abandoned_calls(&self) {}
}

/// A fixture of a store that can block keys, for the group `holding`.
#[async_trait]
pub trait HoldingFixture: StoreFixture {
    /// A handle whose quarantines block their keys, to the same store as [`StoreFixture::handle`].
    async fn holding_handle(&self) -> Arc<dyn Store>;
}

/// A change that another program makes to the tables of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Edit {
    /// Deletes the row of the event, wherever it waits.
    Delete(EventId),
    /// Deletes the row of the event's id, wherever it waits, and inserts this event as a producer
    /// does, in one transaction.
    Replace(Event),
    /// Changes the ordering key of the event, wherever it waits.
    ChangeKey(EventId, String),
}

/// A fixture of a store whose tables others can write to, for the group [`edits`].
#[async_trait]
pub trait EditFixture: StoreFixture {
    /// Edits rows in one transaction.
    async fn edit(&self, edit: Edit);
}

/// A fixture of a store that other programs share, for the group [`bystanders`].
#[async_trait]
pub trait BystanderFixture: StoreFixture {
    /// Starts a transaction of another program, which stays open until it is dropped. In a store
    /// with many writers it has written, in any other it has read the outbox.
    async fn begin_elsewhere(&self) -> Box<dyn Send>;
}

/// A fixture of a store that can be restored from an older copy, for the group [`restoring`].
#[async_trait]
pub trait RestoreFixture: StoreFixture {
    /// Copies the store, as a backup does.
    async fn back_up(&self);

    /// Replaces the store with the copy; handles that are opened later use it.
    async fn restore(&self);
}

/// A fixture of a store that is reached over a [`Wire`], for the group [`wire`].
#[async_trait]
pub trait WireFixture: StoreFixture {
    /// As [`StoreFixture::handle`], over the wire.
    async fn wired(&self) -> Arc<dyn Store>;

    /// As [`StoreFixture::begin`], over the wire.
    fn begin_wired(&self) -> Box<dyn AppTransaction>;

    /// The wire of those handles and transactions.
    fn wire(&self) -> &dyn Wire;
}

suite! {
    $ /// The suite for an [`OutboxStorage`](outbox_core::OutboxStorage) with its
    /// [`DeadLetters`](outbox_core::DeadLetters).
    store_suite of store:
    claims {
        an_empty_outbox_gives_an_empty_claim
        a_rolled_back_append_never_appears
        an_event_comes_back_exactly
        a_taken_id_or_token_is_a_duplicate
        a_claim_is_bounded_and_exclusive
        a_lease_is_as_long_as_asked
        events_of_one_key_keep_their_order
        a_retry_waits_and_its_key_waits_with_it
        a_release_charges_nothing
        a_delayed_event_is_not_early_and_its_key_waits
        retries_do_not_starve_fresh_events
        fresh_events_do_not_starve_retries
        waiting_ends_when_there_is_work
        the_backlog_counts_events
        the_backlog_has_the_age_of_the_oldest_due_event
        the_backlog_has_the_age_of_the_oldest_dead_letter
        a_clean_up_removes_nothing_that_is_needed
    }
    settlements {
        a_lost_claim_settles_nothing
        a_claim_settled_through_another_handle_loses_no_event
        an_expired_claim_settles_unless_it_was_taken_over
        a_settlement_is_of_exactly_its_claim
        a_lost_worker_blames_only_a_lone_event
    }
    outcomes {
        every_mix_of_outcomes_keeps_the_order_of_its_key
    }
    kept {
        a_kept_event_frees_the_others_of_its_claim
        a_late_settlement_has_each_outcome
        a_kept_event_may_be_kept_again
        a_late_settlement_is_of_exactly_the_kept_events
        a_kept_event_is_settled_once
        a_kept_event_that_was_taken_over_is_lost
        a_kept_event_is_blamed_if_it_was_claimed_alone
        a_settled_kept_event_is_claimed_with_others
        a_late_settlement_is_applied_after_the_lease
        a_kept_event_is_busy
        kept_events_of_a_key_keep_their_order
        a_kept_event_waits_for_those_before_it
        a_kept_event_settled_through_another_handle_is_not_lost
    }
    flights {
        claims_in_flight_share_no_event_and_keep_their_order
    }
    held {
        a_held_event_waits_with_its_key
        a_resumption_is_of_one_destination
        a_destination_that_is_not_allowed_is_refused
        a_resumption_leaves_other_waits_alone
        a_resumption_is_bounded
        a_wait_ends_at_a_resumption
        an_event_held_behind_another_waits_for_it
    }
    budgets {
        a_claim_is_within_its_bytes
        neither_starves_where_each_event_fills_a_claim
        an_export_is_bounded_in_bytes
    }
    shares {
        a_key_with_many_events_does_not_delay_the_others
        an_open_claim_leaves_work_to_others
    }
    races {
        concurrent_claims_are_disjoint
        concurrent_writers_are_delivered_once_and_in_order
        a_token_is_taken_by_one_of_many_transactions
        a_quarantine_is_never_seen_half_done
        a_wait_ends_when_another_handle_brings_work
    }
    quarantine {
        quarantine_is_atomic_and_idempotent
        an_event_in_flight_is_busy
        a_published_event_is_missing
        successors_are_claimed_after_a_quarantine
        a_dead_event_is_quarantined_with_its_reason
    }
    dead_letters {
        pages_have_no_gaps_and_no_repeats
        a_replay_keeps_the_id_and_gives_a_new_budget
        a_stale_entry_does_not_quarantine_a_replayed_event
        replay_and_purge_are_bounded
        filters_and_statistics_agree
        each_condition_of_a_filter_narrows
        replay_and_purge_take_what_a_filter_lists
    }
    late {
        a_late_commit_is_claimed
        a_late_rollback_delays_nothing
        a_late_commit_comes_after_what_was_claimed
        writers_that_take_turns_keep_their_order
    }
    holding {
        successors_wait_for_a_dead_letter_of_their_key
        every_handle_keeps_a_hold
        a_replay_goes_before_its_successors
        a_purge_unblocks_the_successors
        a_dead_event_holds_its_key
        events_before_a_dead_letter_are_published
        a_replay_keeps_the_time_of_an_earlier_retry
        events_of_a_lost_claim_stay_blocked
        an_event_that_was_never_claimed_is_busy
        a_replaced_dead_letter_holds_nothing
        an_event_without_a_key_holds_nothing
        every_mix_of_outcomes_keeps_a_hold
    }
    cancellation {
        a_dropped_claim_loses_nothing
        a_dropped_settlement_is_applied_or_not
        a_dropped_settlement_that_keeps_is_applied_or_not
        a_dropped_resumption_resumes_whole_events
        a_dropped_quarantine_is_applied_or_not
        a_dropped_replay_or_purge_is_applied_or_not
        a_dropped_look_changes_nothing
    }
    passes {
        a_pass_dropped_anywhere_loses_nothing
        a_tick_dropped_anywhere_quarantines_once
        two_replicas_in_any_order_quarantine_once
        two_workers_in_any_order_deliver_all
        a_worker_and_a_tick_in_any_order_lose_nothing
    }
    edits {
        a_row_deleted_in_flight_costs_only_itself
        a_kept_row_that_is_deleted_costs_only_itself
        a_claim_without_rows_settles
        a_row_replaced_in_flight_is_delivered
        a_key_changed_in_flight_blocks_nothing
        a_key_changed_before_a_claim_loses_nothing
    }
    bystanders {
        a_long_transaction_elsewhere_delays_no_claim
    }
    restoring {
        a_restored_store_delivers_again_and_skips_nothing
    }
    wire {
        a_cut_append_is_committed_whole_or_not
        a_cut_claim_loses_nothing
        a_cut_settlement_is_applied_whole_or_not
        a_cut_settlement_that_keeps_is_applied_whole_or_not
        a_cut_resumption_loses_nothing
        a_cut_quarantine_moves_all_or_nothing
        a_cut_replay_or_purge_loses_no_dead_letter
        a_cut_look_changes_nothing
        a_cut_connection_is_replaced
    }
}

use crate::check::{ok, refuse};

/// The lease of the cases.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Events of one key, numbered by their payload, made at a whole microsecond.
pub(crate) fn keyed(key: &str, count: usize) -> Vec<Event> {
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let event = |n: usize| Event::new("conformance", n.to_string()).created_at(made);
    (0..count).map(|n| event(n).ordering_key(key)).collect()
}

/// Appends events in a separate transaction.
pub(crate) fn append<F: StoreFixture>(fixture: &F, events: &[Event]) {
    let mut transaction = fixture.begin();
    ok(transaction.append(events));
    ok(transaction.commit());
}

/// The counts of a backlog without its ages, which grow from look to look.
pub(crate) fn counted(mut backlog: Backlog) -> Backlog {
    (backlog.oldest_due, backlog.oldest_dead_letter) = (None, None);
    backlog
}

pub(crate) fn ids(events: &[ClaimedEvent]) -> Vec<EventId> {
    events.iter().map(|claimed| claimed.event.id).collect()
}

/// For ids in no order.
pub(crate) fn sorted(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort_unstable();
    ids
}

pub(crate) fn event_ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

pub(crate) async fn claim(store: &Arc<dyn Store>, limit: usize) -> Claim {
    ok(store.claim(ClaimLimit::events(limit), LEASE).await)
}

/// The failed attempts of each event of a claim.
pub(crate) fn attempts(claim: &Claim) -> Vec<u32> {
    claim
        .events
        .iter()
        .map(|claimed| claimed.attempts)
        .collect()
}

/// The dead letter of an event, and the event.
pub(crate) async fn found(store: &Arc<dyn Store>, id: EventId) -> (DeadLetter, Event) {
    let found = ok(store.find(id).await);
    found.unwrap_or_else(|| refuse!("expected a dead letter of {id}, came none"))
}

/// The same outcome for each event of a claim.
pub(crate) fn each(claim: &Claim, outcome: &Outcome) -> Vec<Settlement> {
    ids(&claim.events)
        .into_iter()
        .map(|id| Settlement::new(id, outcome.clone()))
        .collect()
}

pub(crate) async fn settle(store: &Arc<dyn Store>, claim: &Claim, outcome: &Outcome) {
    ok(store.settle(claim.token, &each(claim, outcome)).await);
}

/// Publishes all that can be claimed now, and returns it in its order.
pub(crate) async fn publish_all(store: &Arc<dyn Store>) -> Vec<EventId> {
    let mut published = Vec::new();
    loop {
        let claim = claim(store, 10).await;
        if claim.events.is_empty() {
            return published;
        }
        settle(store, &claim, &Outcome::Published).await;
        published.extend(ids(&claim.events));
    }
}

pub(crate) fn retry(seconds: u64) -> Outcome {
    Outcome::Retry {
        delay: Duration::from_secs(seconds),
        error: "refused".into(),
    }
}

pub(crate) fn released() -> Outcome {
    Outcome::Released {
        delay: Duration::ZERO,
    }
}
