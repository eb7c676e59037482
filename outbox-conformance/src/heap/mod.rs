//! The suite for a [`DlqHeap`].
//!
//! ```text
//! // tests/conformance.rs of a heap
//! outbox_conformance::dlq_heap_suite!(my_heap, MyFixture::new(), counting, races, leases);
//! ```
//!
//! A heap of the three required methods alone passes `counting` and `races`. A heap that outlives
//! its handles adds `durability`, one with a name of its own `names`, and one whose store can hold
//! what is no entry `corruption`.

pub mod corruption;
pub mod counting;
pub mod durability;
pub mod leases;
pub mod names;
pub mod races;

mod call;
mod concurrency;
mod dropped;
mod history;
mod linear;
mod model;
mod reference;
mod script;

pub use call::{Answer, Call};
pub use history::{History, Recording, Violation};
pub use script::{Script, Step};

use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use std::sync::Arc;
use std::time::Duration;

/// One empty heap for one case.
#[async_trait]
pub trait HeapFixture: Send + Sync + Sized + 'static {
    /// An independent handle to the heap, as another process would open it.
    async fn handle(&self) -> Arc<dyn DlqHeap>;

    /// A handle to another heap that shares the store, as far as the store can be shared.
    async fn neighbour(&self) -> Arc<dyn DlqHeap>;

    /// Moves the heap's clock on by at least `time`.
    async fn elapse(&self, time: Duration);

    /// Puts an entry into the store, by other means than the heap.
    async fn plant(&self, entry: DlqEntry);
}

/// A fixture of a heap that is found by a name, for the group [`names`].
#[async_trait]
pub trait NamedFixture: HeapFixture {
    /// A handle to the heap of that name, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// Those of the heap for a name that it refuses.
    async fn named(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError>;
}

/// A fixture of a heap whose store can hold what is no entry, for the group [`corruption`].
#[async_trait]
pub trait CorruptFixture: HeapFixture {
    /// Puts into the store, by other means than the heap, one of each kind of corrupt entry that
    /// the store can hold. One of them has the id `id` and a count that cannot be one.
    ///
    /// Returns the ids of those that can be understood in spite of it (only their error text is
    /// damaged, say): they have the count 1, and leave as any other.
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId>;
}

suite! {
    $ /// The suite for a [`DlqHeap`](outbox_core::DlqHeap).
    dlq_heap_suite of heap:
    counting {
        a_new_heap_is_empty
        failures_add_up
        an_entry_leaves_at_the_threshold
        the_threshold_may_change_between_calls
        an_empty_drain_changes_nothing
        threshold_zero_behaves_as_one
        counts_saturate
        a_success_forgets_the_event
        forgetting_an_unknown_id_creates_nothing
        a_drained_event_starts_again
        odd_ids_come_back_exactly
        a_batch_equals_its_single_calls
        a_batch_of_100_000_equals_its_single_calls
        failure_times_are_ordered
        namespaces_are_separate
        random_scripts_match_the_model
    }
    races {
        concurrent_failures_count_exactly
        first_failures_of_an_id_all_count
        concurrent_drains_are_disjoint_and_complete
        nothing_is_lost_between_failures_and_drains
        batches_in_opposite_orders_do_not_block
        a_success_and_a_drain_leave_nothing
        a_dropped_call_is_applied_or_not
        histories_are_linearizable
    }
    leases {
        a_lease_hides_an_entry_until_it_runs_out
        forgetting_ends_a_lease
        a_failure_during_a_lease_counts
        concurrent_leases_are_disjoint
        leases_are_fair
        nothing_is_lost_between_failures_drains_and_leases
        a_dropped_batch_is_applied_or_not
        a_dropped_lease_loses_nothing
        the_latest_error_wins
        the_size_is_told
        old_entries_are_pruned
        a_large_heap_leaves_in_pages
        random_scripts_with_leases_match_the_model
        histories_with_leases_are_linearizable
    }
    durability {
        counts_survive_their_handle
    }
    names {
        oddly_named_heaps_are_separate
        a_long_name_is_refused_or_kept_whole
    }
    corruption {
        a_corrupt_entry_costs_no_valid_one
        an_event_with_a_corrupt_entry_begins_anew
        a_corrupt_entry_is_reported
    }
}

/// The entries by id and count, in the order of ids.
pub(crate) fn counts(mut entries: Vec<DlqEntry>) -> Vec<(EventId, u32)> {
    entries.sort_by_key(|entry| entry.id);
    entries
        .iter()
        .map(|entry| (entry.id, entry.failure_count))
        .collect()
}

/// Each id with the same count, in the order of ids.
pub(crate) fn each(ids: &[EventId], count: u32) -> Vec<(EventId, u32)> {
    let mut all: Vec<_> = ids.iter().map(|id| (*id, count)).collect();
    all.sort_unstable();
    all
}

/// The value, or the end of the case with the whole chain of the error.
pub(crate) fn ok<T>(result: Result<T, OutboxError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", error.report()))
}
