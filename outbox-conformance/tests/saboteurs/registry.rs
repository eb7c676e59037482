//! Each clause of the registry's contract is broken once, and the case that checks the clause fails.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::registry::{
    BlockingFixture, CASES, Observed, RegistryFixture, blocking, cancellation, clauses, overviews,
    reports,
};
use outbox_conformance::store::{AppTransaction, Store, StoreFixture};
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, DlqEntry, Event, OpenClaim, OutboxError, OutboxStorage,
    Overview, QuarantineOutcome, RelayId, RelayProgram, RelayRecord, RelayRegistry, RelayReport,
    Settlement,
};
use outbox_store_memory::{MemoryStore, MemoryTransaction};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    LosesPauses,
    LosesTheDestination,
    CutsTexts,
    LosesThePass,
    TakesTheClockOfTheRelay,
    KeepsTheFirstReport,
    KeepsTheFirstError,
    KeepsTheFirstDestination,
    ForgetsSince,
    HearsAllRelays,
    WithdrawsAll,
    WithdrawsNothing,
    KeepsTheSilent,
    RemovesTooEarly,
    KeepsAllRelays,
    MarksEachHandleAlike,
    HidesOverdueClaims,
    KeepsEndedClaims,
    CountsSettledEvents,
    LosesTheLastError,
    OrdersByDueTime,
    ForgetsHolds,
    HidesFreshEvents,
    CountsNoAttempts,
    IgnoresTheLimit,
    ClaimsWhatItShows,
    ShowsNoBlockedKey,
    StaysLockedWhenDropped,
}

use Fault as F;

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (F::LosesPauses, "a_report_is_shown_as_it_was_written"),
    (
        F::LosesTheDestination,
        "a_report_is_shown_as_it_was_written",
    ),
    (F::CutsTexts, "a_report_is_shown_as_it_was_written"),
    (F::LosesThePass, "a_report_is_shown_as_it_was_written"),
    (
        F::TakesTheClockOfTheRelay,
        "a_report_is_shown_as_it_was_written",
    ),
    (
        F::KeepsTheFirstReport,
        "a_later_report_replaces_the_earlier_one",
    ),
    (
        F::KeepsTheFirstError,
        "a_later_report_replaces_the_earlier_one",
    ),
    (
        F::KeepsTheFirstDestination,
        "a_later_report_replaces_the_earlier_one",
    ),
    (F::ForgetsSince, "a_later_report_replaces_the_earlier_one"),
    (F::HearsAllRelays, "a_later_report_replaces_the_earlier_one"),
    (F::WithdrawsAll, "a_withdrawn_relay_is_gone"),
    (F::WithdrawsNothing, "a_withdrawn_relay_is_gone"),
    (F::KeepsTheSilent, "a_silent_relay_is_removed_after_a_day"),
    (F::RemovesTooEarly, "a_silent_relay_is_removed_after_a_day"),
    (F::KeepsAllRelays, "the_number_of_relays_is_bounded"),
    (
        F::MarksEachHandleAlike,
        "a_claim_is_that_of_the_relay_whose_handle_made_it",
    ),
    (F::HidesOverdueClaims, "a_claim_is_shown_until_it_ends"),
    (F::KeepsEndedClaims, "a_claim_is_shown_until_it_ends"),
    (F::CountsSettledEvents, "a_claim_is_shown_until_it_ends"),
    (
        F::LosesTheLastError,
        "the_first_waiting_event_of_each_key_is_shown",
    ),
    (
        F::OrdersByDueTime,
        "the_first_waiting_event_of_each_key_is_shown",
    ),
    (
        F::ForgetsHolds,
        "the_first_waiting_event_of_each_key_is_shown",
    ),
    (
        F::HidesFreshEvents,
        "the_first_waiting_event_of_each_key_is_shown",
    ),
    (
        F::CountsNoAttempts,
        "the_first_waiting_event_of_each_key_is_shown",
    ),
    (
        F::IgnoresTheLimit,
        "an_overview_is_bounded_and_changes_nothing",
    ),
    (
        F::ClaimsWhatItShows,
        "an_overview_is_bounded_and_changes_nothing",
    ),
    (
        F::ShowsNoBlockedKey,
        "a_blocked_key_is_shown_with_its_dead_letter",
    ),
    (
        F::StaysLockedWhenDropped,
        "a_dropped_report_or_withdrawal_is_applied_or_not",
    ),
];

/// A sound store, and what goes wrong in front of it. Also its own fixture.
#[derive(Clone, Debug)]
struct Saboteur {
    store: MemoryStore,
    clock: ManualClock,
    fault: Fault,
    seen: Arc<Mutex<Seen>>,
    is_locked: Arc<AtomicBool>,
}

/// What the store had before.
#[derive(Debug, Default)]
struct Seen {
    reports: Vec<RelayReport>,
    relays: Vec<RelayRecord>,
    claims: Vec<OpenClaim>,
}

type Done<T> = Result<T, OutboxError>;

impl Saboteur {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        Self {
            store: MemoryStore::new().with_clock(clock.clock()),
            clock,
            fault,
            seen: Arc::default(),
            is_locked: Arc::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no dropped call has left the lock behind.
    async fn pass_the_lock(&self) {
        while self.fault == F::StaysLockedWhenDropped && self.is_locked.load(SeqCst) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.is_locked.store(true, SeqCst);
        yield_now().await;
        self.is_locked.store(false, SeqCst);
    }

    fn change(&self, report: &mut RelayReport) {
        match self.fault {
            F::LosesPauses => report.pauses.clear(),
            F::LosesThePass => report.last_pass = None,
            F::CutsTexts => {
                if let Some((error, _)) = &mut report.last_error {
                    *error = error[..1].into();
                }
            }
            F::TakesTheClockOfTheRelay => {
                report.last_pass = report.last_pass.map(|ago| ago + Duration::from_secs(3600));
            }
            F::LosesTheDestination => {
                let program = &report.program;
                report.program =
                    RelayProgram::new(program.host(), program.process(), program.version());
            }
            F::KeepsTheFirstError | F::KeepsTheFirstDestination => {
                let seen = self.seen();
                let first = seen.reports.iter().find(|first| first.id == report.id);
                if let Some(first) = first {
                    self.keep(first, report);
                }
            }
            _ => {}
        }
    }

    /// What a later report does not replace.
    fn keep(&self, first: &RelayReport, later: &mut RelayReport) {
        if self.fault == F::KeepsTheFirstError {
            later.last_error.clone_from(&first.last_error);
        } else {
            later.program = first.program.clone();
        }
    }

    /// What the store has removed, and what it shows too much or too little of.
    fn falsify(&self, overview: &mut Overview) {
        let mut seen = self.seen();
        match self.fault {
            F::KeepsTheSilent | F::KeepsAllRelays => {
                for relay in &seen.relays {
                    if overview.relays.iter().all(|shown| shown.id != relay.id) {
                        overview.relays.push(relay.clone());
                    }
                }
            }
            F::KeepsEndedClaims => {
                for claim in &seen.claims {
                    if overview
                        .claims
                        .iter()
                        .all(|shown| shown.token != claim.token)
                    {
                        overview.claims.push(claim.clone());
                    }
                }
                seen.claims.clone_from(&overview.claims);
            }
            F::CountsSettledEvents => {
                for claim in &mut overview.claims {
                    let before = seen.claims.iter().find(|seen| seen.token == claim.token);
                    claim.events = before.map_or(claim.events, |before| before.events);
                }
                seen.claims.clone_from(&overview.claims);
            }
            F::HidesOverdueClaims => {
                let now = overview.now;
                overview.claims.retain(|claim| claim.until > now);
            }
            F::OrdersByDueTime => overview.waiting.sort_by_key(|event| event.due_at),
            F::ShowsNoBlockedKey => overview.blocked.clear(),
            _ => {}
        }
        for event in &mut overview.waiting {
            match self.fault {
                F::LosesTheLastError => event.last_error = None,
                F::ForgetsHolds => event.held_for = None,
                F::CountsNoAttempts => event.attempts = 0,
                _ => {}
            }
        }
    }
}

#[async_trait]
impl RelayRegistry for Saboteur {
    async fn report(&self, report: &RelayReport) -> Done<()> {
        self.pass_the_lock().await;
        let known = self.seen().reports.iter().any(|one| one.id == report.id);
        match self.fault {
            F::KeepsTheFirstReport if known => return Ok(()),
            F::ForgetsSince => self.store.withdraw(report.id).await?,
            F::HearsAllRelays => {
                let reports = self.seen().reports.clone();
                for other in &reports {
                    self.store.report(other).await?;
                }
            }
            F::RemovesTooEarly => {
                let overview = self.store.overview(usize::MAX).await?;
                let hour = Duration::from_secs(3600);
                let silent = overview.relays.iter();
                let silent = silent.filter(|relay| relay.heard + hour < overview.now);
                for relay in silent {
                    self.store.withdraw(relay.id).await?;
                }
            }
            _ => {}
        }
        let mut changed = report.clone();
        self.change(&mut changed);
        self.seen().reports.push(changed.clone());
        self.store.report(&changed).await?;
        let last = self.store.overview(1).await?.relays;
        self.seen().relays.extend(last);
        Ok(())
    }

    async fn withdraw(&self, id: RelayId) -> Done<()> {
        self.pass_the_lock().await;
        match self.fault {
            F::WithdrawsNothing => return Ok(()),
            F::WithdrawsAll => {
                for relay in self.store.overview(usize::MAX).await?.relays {
                    self.store.withdraw(relay.id).await?;
                }
            }
            _ => {}
        }
        self.store.withdraw(id).await
    }

    async fn overview(&self, limit: usize) -> Done<Overview> {
        if self.fault == F::ClaimsWhatItShows {
            let lease = Duration::from_secs(30);
            self.store.claim(ClaimLimit::events(1), lease).await?;
        }
        let limit = match self.fault {
            F::IgnoresTheLimit => usize::MAX,
            _ => limit,
        };
        let mut overview = self.store.overview(limit).await?;
        if self.fault == F::HidesFreshEvents && overview.claims.is_empty() {
            let backlog = self.store.backlog().await?;
            if backlog.waiting == 0 {
                overview.waiting.clear();
            }
        }
        self.falsify(&mut overview);
        Ok(overview)
    }
}

#[async_trait]
impl OutboxStorage for Saboteur {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Done<Claim> {
        self.store.claim(limit, lease).await
    }

    async fn settle(&self, token: ClaimToken, settlements: &[Settlement]) -> Done<()> {
        self.store.settle(token, settlements).await
    }

    async fn quarantine_events(&self, entries: &[DlqEntry]) -> Done<Vec<QuarantineOutcome>> {
        self.store.quarantine_events(entries).await
    }

    async fn wait_for_work(&self, at_most: Duration) -> Done<()> {
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Done<Backlog> {
        self.store.backlog().await
    }
}

struct Transaction(MemoryTransaction);

impl AppTransaction for Transaction {
    fn append(&mut self, events: &[Event]) -> Done<()> {
        self.0.append(events)
    }

    fn commit(self: Box<Self>) -> Done<()> {
        self.0.commit()
    }
}

#[async_trait]
impl StoreFixture for Saboteur {
    async fn handle(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Transaction(self.store.begin()))
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl RegistryFixture for Saboteur {
    async fn observed(&self) -> Arc<dyn Observed> {
        let mut handle = self.clone();
        if self.fault != F::MarksEachHandleAlike {
            handle.store = self.store.handle();
        }
        Arc::new(handle)
    }
}

#[async_trait]
impl BlockingFixture for Saboteur {
    async fn blocking_handle(&self) -> Arc<dyn Observed> {
        let mut handle = self.clone();
        handle.store = self.store.handle().block_key_on_dead_letter();
        Arc::new(handle)
    }
}

outbox_conformance::registry_suite! { @list runner }

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
