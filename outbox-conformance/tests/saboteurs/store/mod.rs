//! Each clause of the store's contracts, broken once.

mod dropped;
mod fault;
mod refusals;
mod saboteur;

use crate::harness::{Trial, block_on};
pub(crate) use fault::Fault;
use outbox_conformance::store::{
    CASES, budgets, bystanders, cancellation, claims, clauses, dead_letters, edits, held, holding,
    kept, late, outcomes, passes, quarantine, races, restoring, settlements, shares, wire,
};
use refusals::REFUSALS;
use saboteur::Saboteur;

outbox_conformance::store_suite! { @list runner }

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
    "concurrent_claims_are_disjoint",
    "concurrent_writers_are_delivered_once_and_in_order",
    "a_token_is_taken_by_one_of_many_transactions",
    "a_quarantine_is_never_seen_half_done",
    "a_wait_ends_when_another_handle_brings_work",
    "waiting_ends_when_there_is_work",
];

#[test]
fn every_race_refuses_its_faults_on_threads_too() {
    let blocking = [Fault::SleepsThroughCommits];
    TRIAL.judge_on_threads(RACES, &blocking, |case, fault| {
        outbox_conformance::run(move || run(case, move || Saboteur::new(fault)));
    });
}
