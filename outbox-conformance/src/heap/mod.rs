//! The suite for a [`DlqHeap`].
//!
//! ```text
//! // tests/conformance.rs of a heap
//! outbox_conformance::dlq_heap_suite!(my_heap, MyFixture::new(), counting, races, leases);
//! ```
//!
//! A heap of the three required methods alone passes `counting` and `races`; one that overrides the
//! provided methods adds `leases` and `cancellation`. A heap that outlives its handles adds
//! `durability`, a heap with its own name adds `names`, and a heap whose store can hold corrupt
//! entries adds `corruption`. A heap that passes `leases` and is reached over a connection that a
//! test can cut adds `wire`, and one on a server that a test can kill adds `crashes`.

pub mod cancellation;
pub mod corruption;
pub mod counting;
pub mod crashes;
pub mod durability;
pub mod leases;
pub mod names;
pub mod races;
pub mod wire;

mod call;
mod concurrency;
mod dropped;
mod embedded;
mod history;
mod linear;
mod model;
mod reference;
mod script;
mod small;

pub use call::{Answer, Call};
pub use embedded::EmbeddedHeap;
pub use history::{History, Recording, Violation};
pub use script::{Script, Step};

pub(crate) use small::SmallHeap;

use crate::Wire;
use crate::crash::STUCK;
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

    /// Ends the calls whose callers are gone. After it returns, no dropped future and no connection that
    /// was cut can change the heap.
    ///
    /// The default does nothing. It suits a backend that executes or discards a dropped call before it
    /// executes a later one. If a server may still execute such a call, close all connections here and
    /// wait until the server has ended them; the handles connect again.
    async fn end_abandoned_calls(&self) {}
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

/// A fixture of a heap whose store can hold corrupt entries, for the group [`corruption`].
#[async_trait]
pub trait CorruptFixture: HeapFixture {
    /// Puts into the store, by other means than the heap, one of each kind of corrupt entry that
    /// the store can hold. One of them has the id `id` and a count that cannot be one.
    ///
    /// Returns the ids of those that a heap can still read (for example because only the error text
    /// is damaged). They have the count 1 and leave as any other entry.
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId>;
}

/// A fixture of a heap on a server that the test may kill, for the group [`crashes`].
#[async_trait]
pub trait CrashFixture: HeapFixture {
    /// Kills the server as SIGKILL does, while handles use it, and starts it again on its data.
    async fn crash(&self);
}

/// A fixture of a heap whose store is reached over a [`Wire`], for the group [`wire`].
#[async_trait]
pub trait WireFixture: HeapFixture {
    /// As [`HeapFixture::handle`], over the wire.
    async fn wired(&self) -> Arc<dyn DlqHeap>;

    /// The wire of those handles.
    fn wire(&self) -> &dyn Wire;
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
        a_large_batch_equals_its_single_calls
        failure_times_are_ordered
        namespaces_are_separate
        random_scripts_match_the_model [fixtures]
    }
    races {
        concurrent_failures_count_exactly
        first_failures_of_an_id_all_count
        concurrent_drains_are_disjoint_and_complete
        nothing_is_lost_between_failures_and_drains
        batches_in_opposite_orders_do_not_block
        a_success_and_a_drain_leave_nothing
        histories_are_linearizable
    }
    leases {
        a_lease_hides_an_entry_until_it_runs_out
        forgetting_ends_a_lease
        a_failure_during_a_lease_counts
        concurrent_leases_are_disjoint
        leases_are_fair
        nothing_is_lost_between_failures_drains_and_leases
        the_latest_error_wins
        size_counts_entries
        old_entries_are_pruned
        a_large_heap_leaves_in_pages
        random_scripts_with_leases_match_the_model [fixtures]
        histories_with_leases_are_linearizable
    }
    cancellation {
        a_dropped_call_is_applied_or_not
        a_dropped_batch_is_applied_or_not
        a_dropped_lease_loses_nothing
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
        an_event_with_a_corrupt_entry_counts_from_one
        a_corrupt_entry_is_reported
    }
    crashes {
        what_was_answered_survives_a_crash
    }
    wire {
        a_cut_failure_is_counted_once_or_not
        a_cut_batch_is_counted_whole_or_not
        a_cut_success_is_applied_or_not
        a_cut_drain_takes_an_entry_whole_or_not
        a_cut_lease_loses_nothing
        a_cut_prune_takes_only_what_is_old
        a_cut_connection_is_replaced
    }
}

/// A lease of the cases that wait for its end.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// The count of each event before a call that is dropped.
pub(crate) const COUNT: u32 = 3;

/// The age that the events reach before a call that is dropped.
pub(crate) const AGE: Duration = Duration::from_secs(100);

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
