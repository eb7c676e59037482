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

/// Every case, by group. The one list from which tests are generated.
#[doc(hidden)]
#[macro_export]
macro_rules! dlq_heap_cases {
    ($with:path, $($arguments:tt)*) => {
        $with! { $($arguments)*
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
    };
}

/// Generates one `#[test]` per case of the named groups: `name::group::case`.
///
/// The first argument names the module, the second makes a fixture; then come the groups that the
/// heap supports.
#[macro_export]
macro_rules! dlq_heap_suite {
    ($name:ident, $fixture:expr, $($group:ident),+ $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
            use super::*;
            $($crate::dlq_heap_cases! { $crate::dlq_heap_group, $group, $fixture; })+
        }
    };
}

/// Picks one group out of the list of cases.
#[doc(hidden)]
#[macro_export]
macro_rules! dlq_heap_group {
    (counting, $fixture:expr; counting { $($case:ident)* } $($rest:tt)*) => {
        $crate::dlq_heap_tests! { counting, $fixture, $($case)* }
    };
    (races, $fixture:expr; races { $($case:ident)* } $($rest:tt)*) => {
        $crate::dlq_heap_tests! { races, $fixture, $($case)* }
    };
    (leases, $fixture:expr; leases { $($case:ident)* } $($rest:tt)*) => {
        $crate::dlq_heap_tests! { leases, $fixture, $($case)* }
    };
    (durability, $fixture:expr; durability { $($case:ident)* } $($rest:tt)*) => {
        $crate::dlq_heap_tests! { durability, $fixture, $($case)* }
    };
    ($group:ident, $fixture:expr; $other:ident { $($case:ident)* } $($rest:tt)*) => {
        $crate::dlq_heap_group! { $group, $fixture; $($rest)* }
    };
}

/// The tests of one group.
#[doc(hidden)]
#[macro_export]
macro_rules! dlq_heap_tests {
    ($group:ident, $fixture:expr, $($case:ident)*) => {
        mod $group {
            #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::run(async { $crate::heap::$group::$case($fixture).await });
                }
            )*
        }
    };
}

macro_rules! names {
    ($($group:ident { $($case:ident)* })*) => {
        /// All cases as `(group, case)`.
        pub const CASES: &[(&str, &str)] = &[$($((stringify!($group), stringify!($case)),)*)*];
    };
}
dlq_heap_cases! { names, }

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

#[cfg(test)]
mod tests {
    use super::CASES;

    #[test]
    fn every_case_function_is_in_the_list() {
        for (group, source) in [
            ("counting", include_str!("counting.rs")),
            ("races", include_str!("races.rs")),
            ("leases", include_str!("leases.rs")),
            ("durability", include_str!("durability.rs")),
        ] {
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "))
                .filter_map(|rest| rest.split('<').next())
                .collect();
            let listed: Vec<&str> = CASES
                .iter()
                .filter(|(name, _)| *name == group)
                .map(|(_, case)| *case)
                .collect();
            assert_eq!(written, listed, "group {group}");
        }
    }
}
