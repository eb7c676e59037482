//! Each clause of the heap's contract, broken once.

mod fixture;
mod saboteur;

use crate::harness::{Trial, block_on};
use outbox_conformance::heap::{
    CASES, cancellation, clauses, corruption, counting, crashes, durability, leases, names, races,
    wire,
};
use saboteur::Saboteur;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    InventsAnEntry,
    CountsTwiceEachThird,
    ThresholdIsExclusive,
    ThresholdIsIgnored,
    ZeroGivesNothing,
    WrapsAround,
    StopsAtHalf,
    ForgetsNothing,
    ForgetsAll,
    CreatesOnForget,
    KeepsWhatItDrains,
    SwapsIdBytes,
    CountsAnIdOnceABatch,
    FirstFailureMoves,
    SharesItsNamespace,
    LosesUpdates,
    DrainsInTwoSteps,
    LeaseDoesNothing,
    LeaseIsADrain,
    LeaseHidesFromLeasesOnly,
    ForgetSparesLeased,
    FailureEndsTheLease,
    IgnoresTheLimit,
    KeepsTheFirstError,
    DropsErrors,
    CountsNothingInItsSize,
    PrunesAll,
    ForgetsWithItsHandles,
    KeepsItsFirstThreshold,
    DecaysOnAnEmptyDrain,
    RefusesLargeBatches,
    CutsLargeBatches,
    FirstFailureOverwrites,
    SuccessWritesBack,
    LosesTheCountWhenDropped,
    StaysBusyWhenDropped,
    LeaseWritesOldCounts,
    CountsHalfABatchWhenDropped,
    LosesALeaseWhenDropped,
    DrainsHalfWhenDropped,
    HalvesACountWhenDropped,
    CutsNames,
    EndsNamesAtAColon,
    RefusesAnyName,
    FailsOnTheCorrupt,
    ReturnsTheCorrupt,
    CorruptFillsPages,
    CorruptFailsItsBatch,
    LogsNothingOfTheCorrupt,
    LeasesInTwoSteps,
    LeaseOutlivesForget,
    ErrorOutlivesForget,
    CrashLosesTheLastFailures,
    CrashCountsTheLastAgain,
    RepeatsAFailureWhenCut,
    RecordsABatchOneByOne,
    LosesAllWhenCut,
    ResetsWhenCut,
    TakesACutForEmpty,
    StaysDownAfterACut,
    CallsACutInvalid,
    DrainsAThousand,
    LeasesAThousand,
    ForgetsAThousand,
    PrunesAThousand,
    SizeOmitsLeased,
    SizeHasTheNewestTime,
    LocksInBatchOrder,
    ForgetsInBatchOrder,
    LeasesBlockOthers,
    LeasesNewestFirst,
}

use Fault as F;

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (F::InventsAnEntry, "a_new_heap_is_empty"),
    (F::CountsTwiceEachThird, "failures_add_up"),
    (F::ThresholdIsExclusive, "an_entry_leaves_at_the_threshold"),
    (F::ThresholdIsIgnored, "an_entry_leaves_at_the_threshold"),
    (
        F::KeepsItsFirstThreshold,
        "the_threshold_may_change_between_calls",
    ),
    (
        F::ThresholdIsIgnored,
        "the_threshold_may_change_between_calls",
    ),
    (F::DecaysOnAnEmptyDrain, "an_empty_drain_changes_nothing"),
    (F::ZeroGivesNothing, "threshold_zero_behaves_as_one"),
    (F::WrapsAround, "counts_saturate"),
    (F::StopsAtHalf, "counts_saturate"),
    (F::ForgetsNothing, "a_success_forgets_the_event"),
    (F::ForgetsAll, "a_success_forgets_the_event"),
    (
        F::CreatesOnForget,
        "forgetting_an_unknown_id_creates_nothing",
    ),
    (F::KeepsWhatItDrains, "a_drained_event_starts_again"),
    (F::SwapsIdBytes, "odd_ids_come_back_exactly"),
    (F::CountsAnIdOnceABatch, "a_batch_equals_its_single_calls"),
    (
        F::RefusesLargeBatches,
        "a_large_batch_equals_its_single_calls",
    ),
    (F::CutsLargeBatches, "a_large_batch_equals_its_single_calls"),
    (F::DrainsAThousand, "a_large_batch_equals_its_single_calls"),
    (F::ForgetsAThousand, "a_large_batch_equals_its_single_calls"),
    (F::FirstFailureMoves, "failure_times_are_ordered"),
    (F::SharesItsNamespace, "namespaces_are_separate"),
    (F::LosesUpdates, "concurrent_failures_count_exactly"),
    (
        F::FirstFailureOverwrites,
        "first_failures_of_an_id_all_count",
    ),
    (F::SuccessWritesBack, "a_success_and_a_drain_leave_nothing"),
    (
        F::LosesTheCountWhenDropped,
        "a_dropped_call_is_applied_or_not",
    ),
    (F::StaysBusyWhenDropped, "a_dropped_call_is_applied_or_not"),
    (
        F::LeaseWritesOldCounts,
        "nothing_is_lost_between_failures_drains_and_leases",
    ),
    (
        F::HalvesACountWhenDropped,
        "a_dropped_call_is_applied_or_not",
    ),
    (F::DrainsHalfWhenDropped, "a_dropped_call_is_applied_or_not"),
    (
        F::HalvesACountWhenDropped,
        "a_dropped_batch_is_applied_or_not",
    ),
    (F::StaysBusyWhenDropped, "a_dropped_batch_is_applied_or_not"),
    (
        F::CountsHalfABatchWhenDropped,
        "a_dropped_batch_is_applied_or_not",
    ),
    (F::LosesALeaseWhenDropped, "a_dropped_lease_loses_nothing"),
    (F::LeaseIsADrain, "a_dropped_lease_loses_nothing"),
    (
        F::DrainsInTwoSteps,
        "concurrent_drains_are_disjoint_and_complete",
    ),
    (
        F::LosesUpdates,
        "nothing_is_lost_between_failures_and_drains",
    ),
    (
        F::CountsTwiceEachThird,
        "batches_in_opposite_orders_do_not_block",
    ),
    (
        F::LocksInBatchOrder,
        "batches_in_opposite_orders_do_not_block",
    ),
    (
        F::ForgetsInBatchOrder,
        "batches_in_opposite_orders_do_not_block",
    ),
    (
        F::LeaseDoesNothing,
        "a_lease_hides_an_entry_until_it_runs_out",
    ),
    (F::LeaseIsADrain, "a_lease_hides_an_entry_until_it_runs_out"),
    (
        F::LeaseHidesFromLeasesOnly,
        "a_lease_hides_an_entry_until_it_runs_out",
    ),
    (F::ForgetSparesLeased, "forgetting_ends_a_lease"),
    (F::FailureEndsTheLease, "a_failure_during_a_lease_counts"),
    (F::LeaseDoesNothing, "concurrent_leases_are_disjoint"),
    (F::IgnoresTheLimit, "leases_are_fair"),
    (F::LeaseDoesNothing, "leases_are_fair"),
    (F::LeasesNewestFirst, "leases_are_fair"),
    (F::KeepsTheFirstError, "the_latest_error_wins"),
    (F::DropsErrors, "the_latest_error_wins"),
    (F::CountsNothingInItsSize, "size_counts_entries"),
    (F::SizeOmitsLeased, "size_counts_entries"),
    (F::SizeHasTheNewestTime, "size_counts_entries"),
    (F::PrunesAll, "old_entries_are_pruned"),
    (F::PrunesAThousand, "old_entries_are_pruned"),
    (F::IgnoresTheLimit, "a_large_heap_leaves_in_pages"),
    (F::LeasesAThousand, "a_large_heap_leaves_in_pages"),
    (F::LeasesBlockOthers, "a_large_heap_leaves_in_pages"),
    (F::ForgetsWithItsHandles, "counts_survive_their_handle"),
    (F::CutsNames, "a_long_name_is_refused_or_kept_whole"),
    (F::EndsNamesAtAColon, "oddly_named_heaps_are_separate"),
    (F::RefusesAnyName, "oddly_named_heaps_are_separate"),
    (F::FailsOnTheCorrupt, "a_corrupt_entry_costs_no_valid_one"),
    (F::ReturnsTheCorrupt, "a_corrupt_entry_costs_no_valid_one"),
    (F::CorruptFillsPages, "a_corrupt_entry_costs_no_valid_one"),
    (
        F::CorruptFailsItsBatch,
        "an_event_with_a_corrupt_entry_counts_from_one",
    ),
    (F::LogsNothingOfTheCorrupt, "a_corrupt_entry_is_reported"),
    (F::ThresholdIsExclusive, "random_scripts_match_the_model"),
    (F::KeepsItsFirstThreshold, "random_scripts_match_the_model"),
    (F::DecaysOnAnEmptyDrain, "random_scripts_match_the_model"),
    (F::CreatesOnForget, "random_scripts_match_the_model"),
    (F::ForgetsAll, "random_scripts_match_the_model"),
    (F::CountsAnIdOnceABatch, "random_scripts_match_the_model"),
    (F::WrapsAround, "random_scripts_match_the_model"),
    (
        F::LeaseOutlivesForget,
        "random_scripts_with_leases_match_the_model",
    ),
    (
        F::ErrorOutlivesForget,
        "random_scripts_with_leases_match_the_model",
    ),
    (
        F::ForgetSparesLeased,
        "random_scripts_with_leases_match_the_model",
    ),
    (
        F::FailureEndsTheLease,
        "random_scripts_with_leases_match_the_model",
    ),
    (
        F::LeaseIsADrain,
        "random_scripts_with_leases_match_the_model",
    ),
    (F::PrunesAll, "random_scripts_with_leases_match_the_model"),
    (
        F::IgnoresTheLimit,
        "random_scripts_with_leases_match_the_model",
    ),
    (
        F::FirstFailureMoves,
        "random_scripts_with_leases_match_the_model",
    ),
    (F::DrainsInTwoSteps, "histories_are_linearizable"),
    (F::LosesUpdates, "histories_are_linearizable"),
    (F::SuccessWritesBack, "histories_are_linearizable"),
    (F::FirstFailureOverwrites, "histories_are_linearizable"),
    (
        F::LeasesInTwoSteps,
        "histories_with_leases_are_linearizable",
    ),
    (
        F::LeaseWritesOldCounts,
        "histories_with_leases_are_linearizable",
    ),
    (
        F::LeaseDoesNothing,
        "histories_with_leases_are_linearizable",
    ),
    (
        F::DrainsInTwoSteps,
        "histories_with_leases_are_linearizable",
    ),
    (F::LosesUpdates, "histories_with_leases_are_linearizable"),
    (
        F::LeaseOutlivesForget,
        "histories_with_leases_are_linearizable",
    ),
    (
        F::CrashLosesTheLastFailures,
        "what_was_answered_survives_a_crash",
    ),
    (
        F::CrashCountsTheLastAgain,
        "what_was_answered_survives_a_crash",
    ),
    (
        F::RepeatsAFailureWhenCut,
        "a_cut_failure_is_counted_once_or_not",
    ),
    (F::CallsACutInvalid, "a_cut_failure_is_counted_once_or_not"),
    (F::ResetsWhenCut, "a_cut_failure_is_counted_once_or_not"),
    (
        F::RepeatsAFailureWhenCut,
        "a_cut_batch_is_counted_whole_or_not",
    ),
    (
        F::RecordsABatchOneByOne,
        "a_cut_batch_is_counted_whole_or_not",
    ),
    (F::LosesAllWhenCut, "a_cut_success_is_applied_or_not"),
    (F::StaysDownAfterACut, "a_cut_success_is_applied_or_not"),
    (
        F::TakesACutForEmpty,
        "a_cut_drain_takes_an_entry_whole_or_not",
    ),
    (F::LeaseIsADrain, "a_cut_lease_loses_nothing"),
    (F::ResetsWhenCut, "a_cut_success_is_applied_or_not"),
    (F::ResetsWhenCut, "a_cut_lease_loses_nothing"),
    (F::LosesAllWhenCut, "a_cut_prune_takes_only_what_is_old"),
    (F::StaysDownAfterACut, "a_cut_connection_is_replaced"),
];

outbox_conformance::dlq_heap_suite! { @list runner }

pub(crate) const TRIAL: Trial<Fault> = Trial {
    cases: CASES,
    clauses,
    refusals: REFUSALS,
    sound: Fault::None,
    run: |case, fault| block_on(run(case, || Saboteur::new(fault))),
};

#[test]
fn every_case_refuses_its_faults_in_every_run() {
    TRIAL.judge();
}

/// The cases whose calls meet.
const RACES: &[&str] = &[
    "concurrent_failures_count_exactly",
    "first_failures_of_an_id_all_count",
    "concurrent_drains_are_disjoint_and_complete",
    "nothing_is_lost_between_failures_and_drains",
    "batches_in_opposite_orders_do_not_block",
    "a_success_and_a_drain_leave_nothing",
    "histories_are_linearizable",
    "concurrent_leases_are_disjoint",
    "nothing_is_lost_between_failures_drains_and_leases",
    "histories_with_leases_are_linearizable",
];

#[test]
fn every_race_refuses_its_faults_on_threads_too() {
    let blocking = [F::LocksInBatchOrder, F::ForgetsInBatchOrder];
    TRIAL.judge_on_threads(RACES, &blocking, |case, fault| {
        outbox_conformance::run(move || run(case, move || Saboteur::new(fault)));
    });
}
