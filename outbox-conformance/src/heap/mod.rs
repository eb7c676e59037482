//! The suite for a [`DlqHeap`].
//!
//! ```text
//! // tests/conformance.rs of a heap
//! outbox_conformance::dlq_heap_suite!(my_heap, MyFixture::new(), counting, races, leases);
//! ```
//!
//! A heap of the three required methods alone passes `counting` and `races`.

pub mod counting;
pub mod durability;
pub mod leases;
pub mod races;

use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{DlqEntry, DlqHeap};
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

suite! {
    $ /// The suite for a [`DlqHeap`](outbox_core::DlqHeap).
    dlq_heap_suite of heap:
    counting {
        a_new_heap_is_empty
        failures_add_up
        an_entry_leaves_at_the_threshold
        threshold_zero_behaves_as_one
        counts_saturate
        a_success_forgets_the_event
        forgetting_an_unknown_id_creates_nothing
        a_drained_event_starts_again
        odd_ids_come_back_exactly
        a_batch_equals_its_single_calls
        failure_times_are_ordered
        namespaces_are_separate
    }
    races {
        concurrent_failures_count_exactly
        concurrent_drains_are_disjoint_and_complete
        nothing_is_lost_between_failures_and_drains
        batches_in_opposite_orders_do_not_block
    }
    leases {
        a_lease_hides_an_entry_until_it_runs_out
        forgetting_ends_a_lease
        a_failure_during_a_lease_counts
        concurrent_leases_are_disjoint
        leases_are_fair

        the_latest_error_wins
        the_size_is_told
        old_entries_are_pruned
        a_large_heap_leaves_in_pages
    }
    durability {
        counts_survive_their_handle
    }
}

/// The entries by id and count, in the order of ids.
pub(crate) fn counts(mut entries: Vec<DlqEntry>) -> Vec<(outbox_core::EventId, u32)> {
    entries.sort_by_key(|entry| entry.id);
    entries
        .iter()
        .map(|entry| (entry.id, entry.failure_count))
        .collect()
}

/// The value, or the end of the case with the whole chain of the error.
pub(crate) fn ok<T>(result: Result<T, outbox_core::OutboxError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", error.report()))
}
