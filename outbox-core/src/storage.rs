//! The outbox table, as the worker sees it.
//!
//! The clauses (S1, S2, …) are the contract; the name beside each is the case of
//! `outbox-conformance` that checks it.

use crate::dlq::model::DlqEntry;
use crate::error::OutboxError;
use crate::object::{ErrorText, Event, EventId};
use async_trait::async_trait;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Claims events, settles them, and moves those that keep failing into the quarantine.
///
/// All times and delays are the store's clock. Every call is bounded by a timeout of the adapter's.
///
/// - **S1** An event of a committed transaction is claimed sooner or later, as it was appended
///   (`an_event_comes_back_exactly`) and however late it commits (`a_late_commit_is_claimed`); one
///   of a rolled-back transaction never is (`a_rolled_back_append_never_appears`), and holds nothing
///   up (`a_late_rollback_holds_nothing_up`). No other program's transaction delays it
///   (`a_long_transaction_elsewhere_delays_nobody`), and a store that is put back to an older copy
///   delivers again and skips nothing (`a_restored_store_delivers_again_and_skips_nothing`).
/// - **S2** Events of one ordering key are claimed in the order of their commits, and never while
///   an earlier one of the key is unsettled in another claim
///   (`events_of_one_key_keep_their_order`, `writers_that_take_turns_keep_their_order`,
///   `every_mix_of_outcomes_keeps_the_order_of_its_key`); where
///   writers of a key do not take turns, either of two that append before the other commits may come
///   first if nothing was claimed in between (`a_late_commit_comes_after_what_was_claimed`).
/// - **S3** Two claims never hold the same event (`concurrent_claims_are_disjoint`,
///   `a_claim_is_bounded_and_exclusive`), for as long as the lease that was asked for
///   (`a_lease_is_as_long_as_asked`).
/// - **S4** A settlement whose claim was taken over changes nothing and is
///   [`LeaseLost`](crate::ErrorKind::LeaseLost) (`a_lost_claim_settles_nothing`).
/// - **S5** A retry is not claimed before its delay has passed, and its successors wait with it
///   (`a_retry_waits_and_its_key_waits_with_it`).
/// - **S6** Neither retries nor fresh events starve (`retries_do_not_starve_fresh_events`,
///   `fresh_events_do_not_starve_retries`).
/// - **S7** The events of a claim whose lease ran out are claimed again one at a time, each alone
///   in its claim, and only one that had been alone is flagged
///   [`worker_lost`](ClaimedEvent::worker_lost) (`a_lost_worker_blames_only_a_lone_event`).
/// - **S8** Quarantine moves an event atomically, once, and never one that is published or under
///   a live claim (`quarantine_is_atomic_and_idempotent`, `an_event_in_flight_is_busy`,
///   `a_quarantine_is_never_seen_half_done`).
/// - **S9** After a quarantine the successors of the key go on
///   (`successors_go_on_after_a_quarantine`). A store that [holds keys](Self::holds_keys) lets
///   them wait until the dead letter is purged, or replayed before them
///   (`successors_wait_for_a_dead_letter_of_their_key`, `a_replay_goes_before_its_successors`,
///   `a_purge_lets_the_successors_go_on`).
/// - **S10** A call whose future is dropped at any of its waits is applied to all of its events or to
///   none, and later calls on the handle work (`a_dropped_claim_loses_nothing`,
///   `a_dropped_settlement_is_applied_or_not`, `a_dropped_quarantine_is_applied_or_not`,
///   `a_dropped_look_changes_nothing`).
/// - **S11** The payloads and headers of a claim have at most [`ClaimLimit::bytes`] together, unless
///   the claim is a single event, and a store reads no more of them than that
///   (`a_claim_is_within_its_bytes`). S6 holds where a single event fills a claim, too
///   (`neither_starves_where_each_event_fills_a_claim`).
/// - **S12** A key with many events does not hold up the events of other keys
///   (`a_key_with_many_events_does_not_hold_up_the_others`), and a claim that is open leaves work to
///   other workers (`an_open_claim_leaves_work_to_others`).
/// - **S13** A row that somebody else deletes, replaces or changes costs at most itself: a settlement
///   applies to the events that are still there (`a_row_deleted_in_flight_costs_only_itself`,
///   `a_claim_without_rows_settles`), and an event that took the place of another, or has another
///   ordering key, is delivered and holds nothing up (`a_row_replaced_in_flight_is_delivered`,
///   `a_key_changed_in_flight_holds_nothing_up`, `a_key_changed_before_a_claim_loses_nothing`).
///
/// An append of an id or an idempotency token that is taken is a
/// [`Duplicate`](crate::ErrorKind::Duplicate), and nothing of the append remains
/// (`a_taken_id_or_token_is_a_duplicate`); of transactions that take a token at once, one commits
/// (`a_token_is_taken_by_one_of_many_transactions`).
///
/// A worker that is lost anywhere in a pass costs a second delivery at most, and another goes on in
/// order (`a_pass_dropped_anywhere_loses_nothing`). Two of them deliver each event, whatever the order
/// of their calls (`two_workers_in_any_order_deliver_all`). Each event that failed too often is
/// quarantined once, wherever a dead-letter processor is lost
/// (`a_tick_dropped_anywhere_quarantines_once`), whatever two of them do at once
/// (`two_replicas_in_any_order_quarantine_once`), and is not lost if a worker takes it up meanwhile
/// (`a_worker_and_a_tick_in_any_order_lose_nothing`).
///
/// Wherever a connection is cut, the call is applied to all of its events or to none and is
/// [`Unavailable`](crate::ErrorKind::Unavailable), and the next call on the handle works
/// (`a_cut_append_is_committed_whole_or_not`, `a_cut_claim_loses_nothing`,
/// `a_cut_settlement_is_applied_whole_or_not`, `a_cut_quarantine_moves_all_or_nothing`,
/// `a_cut_look_changes_nothing`, `a_store_is_connected_again_however_a_connection_ends`).
#[async_trait]
pub trait OutboxStorage: Send + Sync + Debug {
    /// Leases due events to the caller for `lease`, within `limit`.
    ///
    /// Events stand in the order in which they must be published. A store may take only a part of
    /// what is due, and may hold the rest back until a claim is settled that has other events of the
    /// same lease. As long as something is due and no claim is open, a claim is not empty, except
    /// while a store moves many events that must wait out of the way: then
    /// [`wait_for_work`](Self::wait_for_work) returns at once, and a later claim has an event.
    /// A claim whose lease has run out is taken over by the next call of any worker.
    ///
    /// No event is claimed twice, and never more than `limit` (`a_claim_is_bounded_and_exclusive`),
    /// none if none is due (`an_empty_outbox_gives_an_empty_claim`). An event is what was appended
    /// (`an_event_comes_back_exactly`). One that is delayed is not early, and its successors wait
    /// with it (`a_delayed_event_is_not_early_and_its_key_waits`). With many writers and workers at
    /// once each event comes once, in the order of its key
    /// (`concurrent_writers_are_delivered_once_and_in_order`).
    ///
    /// # Errors
    ///
    /// Nothing is claimed on an error, unless the reply was lost; then the lease runs out.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the claim may stand; its lease then runs out.
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError>;

    /// Ends a claim: the outcome of each of its events, in one transaction.
    ///
    /// `settlements` names each event of the claim exactly once, in any order
    /// (`a_settlement_is_of_exactly_its_claim`). A claim whose lease has run out but that nobody took
    /// over yet is still settled (`a_lease_that_ran_out_still_settles_if_nobody_took_over`).
    ///
    /// A release charges no attempt (`a_release_charges_nothing`), and what is dead goes into the
    /// quarantine with its reason (`a_dead_event_is_quarantined_with_its_reason`).
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the claim was taken over or is settled
    /// already, [`Invalid`](crate::ErrorKind::Invalid) if the settlements are not exactly the
    /// events of the claim; either way nothing is changed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped all of it is applied or none.
    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError>;

    /// Moves events into the quarantine in one transaction and answers for each entry, in order.
    ///
    /// A bad entry does not fail the others. What was published is missing, and no dead letter
    /// (`a_published_event_is_missing`).
    ///
    /// # Errors
    ///
    /// Nothing is moved on an error, unless the reply was lost; calling again is harmless.
    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError>;

    /// Whether an event that is quarantined through this handle holds its ordering key (S9).
    ///
    /// A worker then publishes no successor of an event that failed for good. The provided form
    /// holds nothing; a store that can hold keys has a setter for it. What holds a key is the
    /// dead letter, so it holds for every handle (`every_handle_keeps_a_hold`), and until it is replayed,
    /// purged, or replaced by one of the same id (`a_replaced_dead_letter_holds_nothing`).
    ///
    /// A permanent failure holds as well (`a_dead_event_holds_its_key`), and so does a dead letter whose
    /// successors come one at a time after a lost worker (`isolation_does_not_end_a_hold`). Events
    /// before the dead letter go on (`events_before_a_dead_letter_go_on`), and keep their time when it is
    /// replayed (`a_replay_does_not_hurry_an_event_before_it`). An event that no worker took up has no
    /// place from which to hold, and is busy (`an_event_that_nobody_took_up_is_busy`). One without a
    /// key holds nothing (`an_event_without_a_key_holds_nothing`). All of this is so whichever outcomes
    /// the events of a key have in one settlement (`every_mix_of_outcomes_keeps_a_hold`).
    fn holds_keys(&self) -> bool {
        false
    }

    /// Returns when a claim may find work, whoever brought it, and after `at_most` in any case
    /// (`waiting_ends_when_there_is_work`, `a_wait_ends_when_another_handle_brings_work`).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing, so it may be dropped at any time.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError>;

    /// What waits in the outbox and lies in the quarantine, as one snapshot
    /// (`the_backlog_is_told`).
    async fn backlog(&self) -> Result<Backlog, OutboxError>;

    /// Removes up to `limit` rows that nobody needs any more (consumed rows, idempotency tokens
    /// after their time) and returns how many it removed. Call again while that is not zero.
    ///
    /// Whatever the limit, all else stays: what waits, is claimed or has failed, the dead letters,
    /// and, for their time, the tokens of events that are gone
    /// (`a_clean_up_removes_nothing_that_is_needed`).
    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        let _ = limit;
        Ok(0)
    }
}

/// How much one claim may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClaimLimit {
    /// The most events, at least 1.
    pub events: usize,
    /// The most bytes of payloads and headers together (S11). A single event may be larger.
    pub bytes: usize,
}

impl ClaimLimit {
    /// The default of [`bytes`](Self::bytes): 16 MiB.
    pub const BYTES: usize = 16 * 1024 * 1024;

    /// Up to `events` events, within the default number of bytes.
    #[must_use]
    pub fn events(events: usize) -> Self {
        Self {
            events,
            bytes: Self::BYTES,
        }
    }

    /// Replaces the number of bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

/// Identifies one claim. A settlement is fenced by it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClaimToken(Uuid);

impl ClaimToken {
    /// A token that no other claim has.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The token as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl Default for ClaimToken {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for ClaimToken {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

/// Events leased to one worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// Fences the settlement.
    pub token: ClaimToken,
    /// The events, in the order in which they must be published.
    pub events: Vec<ClaimedEvent>,
}

impl Claim {
    /// A claim of `events` under `token`.
    #[must_use]
    pub fn new(token: ClaimToken, events: Vec<ClaimedEvent>) -> Self {
        Self { token, events }
    }

    /// A claim of nothing, which needs no settlement.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(ClaimToken::new(), Vec::new())
    }
}

/// One event of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimedEvent {
    /// The event.
    pub event: Event,
    /// Failed attempts that were charged to it since it was appended or replayed.
    pub attempts: u32,
    /// It was alone in a claim whose worker was lost: settle it as a failed attempt, unpublished.
    pub worker_lost: bool,
}

impl ClaimedEvent {
    /// An event with its charged attempts.
    #[must_use]
    pub fn new(event: Event, attempts: u32, worker_lost: bool) -> Self {
        Self {
            event,
            attempts,
            worker_lost,
        }
    }
}

/// What became of one event of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settlement {
    /// The event.
    pub id: EventId,
    /// What became of it.
    pub outcome: Outcome,
}

impl Settlement {
    /// The outcome of one event.
    #[must_use]
    pub fn new(id: EventId, outcome: Outcome) -> Self {
        Self { id, outcome }
    }
}

/// What became of an event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker has it: it leaves the outbox.
    Published,
    /// The attempt failed and is charged; the event is due again after `delay`.
    Retry {
        /// How long the event and the successors of its key wait.
        delay: Duration,
        /// What the broker said.
        error: ErrorText,
    },
    /// It can never succeed: it is quarantined at once.
    Dead {
        /// Why.
        reason: ErrorText,
    },
    /// Not attempted, or not the event's fault: no attempt is charged.
    Released {
        /// How long the event and the successors of its key wait. Zero: due at once.
        delay: Duration,
    },
}

/// What became of one entry given to [`OutboxStorage::quarantine_events`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QuarantineOutcome {
    /// Moved from the outbox into the quarantine.
    Moved,
    /// Not there to be moved: published, quarantined before, gone, or replayed since without a
    /// new failure, so that the entry tells of an earlier life. Forget it.
    Missing,
    /// Under a live claim, or (where the event would hold its key) not taken up by a worker yet; not
    /// moved. Try again later.
    Busy,
}

/// What waits in an outbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Backlog {
    /// Events that are neither published nor quarantined, claimed ones included.
    pub pending: u64,
    /// When the oldest of them was made, by its producer's clock.
    pub oldest_pending: Option<SystemTime>,
    /// Events that are claimed at this moment.
    pub in_flight: u64,
    /// Ordering keys (or events without one) that wait for a retry or a delayed event, or that a
    /// dead letter holds.
    pub waiting: u64,
    /// Events in the quarantine.
    pub dead_letters: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_uuid() {
        let uuid = Uuid::max();
        assert_eq!(ClaimToken::from(uuid).as_uuid(), &uuid);
    }
}
