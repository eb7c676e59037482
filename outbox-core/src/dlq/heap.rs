//! The dead-letter heap: per-event failure counts.

use crate::dlq::model::{DlqEntry, FailedAttempt, HeapSize};
use crate::error::OutboxError;
use crate::object::EventId;
use async_trait::async_trait;
use std::time::Duration;

/// Counts the failed attempts of each event and gives up those that reached a threshold.
///
/// The three required methods are a complete implementation. The provided ones do the same work
/// in one round trip, or more safely; every adapter of this project overrides them.
/// [`OutboxProcessor`](crate::processor::OutboxProcessor) reports outcomes here after each pass;
/// [`DlqProcessor`](crate::dlq::processor::DlqProcessor) takes out what must be quarantined.
///
/// - **H1** n failures of an id count n, from however many tasks and handles
///   (`failures_add_up`, `concurrent_failures_count_exactly`, `first_failures_of_an_id_all_count`).
/// - **H2** The threshold is inclusive, is each call's own, and 0 behaves as 1
///   (`an_entry_leaves_at_the_threshold`, `the_threshold_may_change_between_calls`,
///   `threshold_zero_behaves_as_one`).
/// - **H3** Counts saturate at `u32::MAX` and are exact up to it (`counts_saturate`).
/// - **H4** Forgetting clears the count; of an unknown id it is Ok and creates nothing
///   (`a_success_forgets_the_event`, `forgetting_an_unknown_id_creates_nothing`).
/// - **H5** A drained id is gone; its next failure counts 1 (`a_drained_event_starts_again`).
/// - **H6** Concurrent drains are disjoint and together complete
///   (`concurrent_drains_are_disjoint_and_complete`). An event that is forgotten meanwhile is
///   drained or forgotten, and never kept (`a_success_and_a_drain_leave_nothing`).
/// - **H7** A batch equals the loop of its single calls, whatever its size
///   (`a_batch_equals_its_single_calls`, `a_batch_of_100_000_equals_its_single_calls`). Batches that
///   name the same events in opposite orders do not block one another
///   (`batches_in_opposite_orders_do_not_block`).
/// - **H8** A leased entry is in no other lease and no drain until the lease runs out, then it is
///   back with all its counts (`a_lease_hides_an_entry_until_it_runs_out`).
/// - **H9** Leases are fair: an entry over the threshold is leased within ⌈N/limit⌉ calls, while
///   new ones arrive (`leases_are_fair`). Other calls are answered while entries are leased
///   (`a_large_heap_leaves_in_pages`).
/// - **H10** The latest error text that was given is kept (`the_latest_error_wins`).
/// - **H11** Times are the heap's clock, and the first failure is never after the last
///   (`failure_times_are_ordered`).
/// - **H12** Two namespaces never see each other, however they are called
///   (`namespaces_are_separate`, `oddly_named_heaps_are_separate`,
///   `a_long_name_is_refused_or_kept_whole`).
/// - **H13** What is in the store and is no entry is passed over with a warning through `tracing`,
///   and costs no valid entry (`a_corrupt_entry_costs_no_valid_one`,
///   `an_event_with_a_corrupt_entry_begins_anew`, `a_corrupt_entry_is_reported`).
/// - **H14** Concurrent calls on one event return what they would one after another, in some order
///   that their begins and ends allow: a drain and a lease are atomic for each event, if not across
///   events (`histories_are_linearizable`, `histories_with_leases_are_linearizable`).
///
/// What one caller does, in any order of calls and through any handles, is answered as the clauses
/// have it (`random_scripts_match_the_model`, `random_scripts_with_leases_match_the_model`).
///
/// Among failures, drains and leases at once no failure is lost: it is in a drain or still counted
/// (`nothing_is_lost_between_failures_and_drains`,
/// `nothing_is_lost_between_failures_drains_and_leases`).
///
/// A heap that is kept elsewhere than in its handles is there for later ones
/// (`counts_survive_their_handle`), and one on a server keeps what was answered when the server dies
/// (`what_was_answered_survives_a_crash`).
///
/// A call whose future is dropped is applied or not, and later calls on the handle work
/// (`a_dropped_call_is_applied_or_not`, `a_dropped_batch_is_applied_or_not`,
/// `a_dropped_lease_loses_nothing`).
///
/// An `Err` may mean that only the reply was lost: a count may then be one too high, never lower.
/// Wherever a connection is cut, the call is applied or not and is
/// [`Unavailable`](crate::ErrorKind::Unavailable), and the next call on the handle works
/// (`a_cut_failure_is_counted_once_or_not`, `a_cut_batch_is_counted_whole_or_not`,
/// `a_cut_success_is_applied_or_not`, `a_cut_drain_takes_an_entry_whole_or_not`,
/// `a_cut_lease_loses_nothing`, `a_cut_prune_takes_only_what_is_old`,
/// `a_connection_is_made_again_however_it_ends`).
#[async_trait]
pub trait DlqHeap: Send + Sync {
    /// Adds one to the failure count of `id`. Any UUID is an id (`odd_ids_come_back_exactly`).
    ///
    /// # Errors
    ///
    /// The failure may or may not have been counted.
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError>;

    /// Forgets the failures of `id`, because it was published.
    ///
    /// # Errors
    ///
    /// The count may or may not have been cleared; calling again is harmless.
    async fn record_success(&self, id: EventId) -> Result<(), OutboxError>;

    /// Removes and returns every entry that is not leased and whose count is at least `threshold`.
    ///
    /// No two calls return the same entry. The result has no duplicates and no order. What it
    /// returns is no longer stored: a caller that must not lose it uses
    /// [`lease_exceeded`](Self::lease_exceeded). A drain that finds nothing is Ok and changes nothing
    /// (`a_new_heap_is_empty`, `an_empty_drain_changes_nothing`).
    ///
    /// # Errors
    ///
    /// Entries may have been removed if the reply was lost; their events then count from 1 again.
    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError>;

    /// Counts many failed attempts in one round trip. An id may stand in it more than once. Batches
    /// at once all end, whatever the order of their ids (`batches_in_opposite_orders_do_not_block`).
    ///
    /// # Errors
    ///
    /// Any part of the batch may have been counted by the provided loop; an adapter counts all of
    /// it or none, unless the reply was lost.
    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        for failure in failures {
            self.record_failure(failure.id).await?;
        }
        Ok(())
    }

    /// Forgets many events in one round trip: published, or quarantined. Also ends their leases
    /// (`forgetting_ends_a_lease`).
    ///
    /// # Errors
    ///
    /// Some may have been forgotten; calling again is harmless.
    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        for id in ids {
            self.record_success(*id).await?;
        }
        Ok(())
    }

    /// Hides up to `limit` entries whose count is at least `threshold` for `lease`, and returns
    /// them. They stay in the heap until they are forgotten, so a caller that dies loses nothing.
    ///
    /// No two leases hold the same entry, however many begin at once
    /// (`concurrent_leases_are_disjoint`). A failure meanwhile counts and does not end the lease
    /// (`a_failure_during_a_lease_counts`). A large heap leaves in pages of `limit`, each forgotten
    /// before the next (`a_large_heap_leaves_in_pages`).
    ///
    /// The provided form drains instead: it may return more than `limit` entries, and they are
    /// gone if the caller dies (their events then count from 1 again).
    ///
    /// # Errors
    ///
    /// Entries may have been leased if the reply was lost; they come back when the lease runs out.
    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let _ = (limit, lease);
        self.drain_exceeded(threshold).await
    }

    /// How much is tracked, leased entries too (`the_size_is_told`). `None` if the heap cannot tell.
    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        Ok(None)
    }

    /// Forgets up to `limit` entries whose last failure is older than `age`, and returns how many;
    /// those that are leased stay (`old_entries_are_pruned`). The provided form forgets nothing.
    ///
    /// # Errors
    ///
    /// Some may have been forgotten; calling again is harmless.
    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let _ = (age, limit);
        Ok(0)
    }
}
