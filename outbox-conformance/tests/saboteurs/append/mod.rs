//! Each clause of appending is broken once, and the case that checks the clause fails.

mod saboteur;

use crate::harness::{Trial, block_on};
use outbox_conformance::append::{
    CASES, clauses, fields, outside, refusals, statements, transactions,
};
use saboteur::Saboteur;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    ReversesABatch,
    LosesTheLastOfABatch,
    CommitsAtOnce,
    RollsBackOnlyTheLastAppend,
    KeepsIdsAfterARollback,
    IgnoresSavepoints,
    RollsBackBeyondTheSavepoint,
    LosesWhatFollowsASavepoint,
    IgnoresTakenIds,
    IgnoresTakenTokens,
    MissesTwoAlikeInABatch,
    MissesWhatTheTransactionHas,
    MissesWhatIsCommitted,
    CallsADuplicateAConflict,
    StaysRefusing,
    InsertsOneByOne,
    SendsNoEvents,
    RefusesNoEvents,
    SendsInvalidEvents,
    ChecksAfterItSends,
    AcceptsInvalidEvents,
    AppendsTheValidOnes,
    CallsMissingTablesUnavailable,
    SaysNothingOfMigrating,
    LosesTheSource,
    LosesHeaders,
    LosesTheContentType,
    ReadsPayloadsAsText,
    TakesAnEmptyKeyForNone,
    TakesAnEmptyTokenForNone,
    CutsTimesToMilliseconds,
    LosesWhenItIsDue,
    CountsTimesFrom2000,
    CutsPayloadsAtAMegabyte,
    AppendsAHundredAtMost,
    GivesAllTheFirstHeaders,
    AppendsOutside,
    AppendsNothingOutside,
    RefusesOutsideAfterItSends,
    CallsOutsideUnavailable,
}

use Fault as F;

/// Which case refuses which fault.
#[rustfmt::skip]
const REFUSALS: &[(Fault, &str)] = &[
    (F::ReversesABatch, "committed_events_appear_in_their_order"),
    (F::LosesTheLastOfABatch, "committed_events_appear_in_their_order"),
    (F::CommitsAtOnce, "rolled_back_events_never_appear"),
    (F::RollsBackOnlyTheLastAppend, "rolled_back_events_never_appear"),
    (F::KeepsIdsAfterARollback, "rolled_back_events_never_appear"),
    (F::IgnoresSavepoints, "events_of_a_rolled_back_savepoint_never_appear"),
    (F::RollsBackBeyondTheSavepoint, "events_of_a_rolled_back_savepoint_never_appear"),
    (F::LosesWhatFollowsASavepoint, "events_of_a_rolled_back_savepoint_never_appear"),
    (F::InsertsOneByOne, "an_append_is_one_statement"),
    (F::SendsNoEvents, "an_append_of_no_events_sends_nothing"),
    (F::RefusesNoEvents, "an_append_of_no_events_sends_nothing"),
    (F::IgnoresTakenIds, "a_taken_id_is_a_duplicate"),
    (F::MissesTwoAlikeInABatch, "a_taken_id_is_a_duplicate"),
    (F::MissesWhatTheTransactionHas, "a_taken_id_is_a_duplicate"),
    (F::MissesWhatIsCommitted, "a_taken_id_is_a_duplicate"),
    (F::CallsADuplicateAConflict, "a_taken_id_is_a_duplicate"),
    (F::IgnoresTakenTokens, "a_taken_token_is_a_duplicate"),
    (F::MissesTwoAlikeInABatch, "a_taken_token_is_a_duplicate"),
    (F::MissesWhatTheTransactionHas, "a_taken_token_is_a_duplicate"),
    (F::MissesWhatIsCommitted, "a_taken_token_is_a_duplicate"),
    (F::CallsADuplicateAConflict, "a_taken_token_is_a_duplicate"),
    (F::StaysRefusing, "a_transaction_continues_after_a_refusal"),
    (F::RollsBackBeyondTheSavepoint, "a_transaction_continues_after_a_refusal"),
    (F::SendsInvalidEvents, "an_invalid_event_is_refused_before_anything_is_sent"),
    (F::ChecksAfterItSends, "an_invalid_event_is_refused_before_anything_is_sent"),
    (F::AcceptsInvalidEvents, "an_invalid_event_is_refused_before_anything_is_sent"),
    (F::AppendsTheValidOnes, "an_invalid_event_is_refused_before_anything_is_sent"),
    (F::CallsMissingTablesUnavailable, "without_tables_an_append_says_how_to_migrate"),
    (F::SaysNothingOfMigrating, "without_tables_an_append_says_how_to_migrate"),
    (F::LosesTheSource, "a_refusal_keeps_the_error_of_the_driver"),
    (F::LosesHeaders, "odd_fields_arrive_unchanged"),
    (F::LosesTheContentType, "odd_fields_arrive_unchanged"),
    (F::ReadsPayloadsAsText, "odd_fields_arrive_unchanged"),
    (F::TakesAnEmptyKeyForNone, "odd_fields_arrive_unchanged"),
    (F::TakesAnEmptyTokenForNone, "odd_fields_arrive_unchanged"),
    (F::CutsTimesToMilliseconds, "odd_fields_arrive_unchanged"),
    (F::LosesWhenItIsDue, "odd_fields_arrive_unchanged"),
    (F::CountsTimesFrom2000, "odd_fields_arrive_unchanged"),
    (F::CutsPayloadsAtAMegabyte, "a_payload_of_16_mb_arrives_unchanged"),
    (F::AppendsAHundredAtMost, "a_thousand_events_arrive_unchanged"),
    (F::GivesAllTheFirstHeaders, "a_thousand_events_arrive_unchanged"),
    (F::AppendsOutside, "an_append_outside_of_a_transaction_is_refused"),
    (F::AppendsNothingOutside, "an_append_outside_of_a_transaction_is_refused"),
    (F::RefusesOutsideAfterItSends, "an_append_outside_of_a_transaction_is_refused"),
    (F::CallsOutsideUnavailable, "an_append_outside_of_a_transaction_is_refused"),
];

outbox_conformance::append_suite! { @list runner }

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
