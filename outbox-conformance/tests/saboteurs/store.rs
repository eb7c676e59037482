//! Each clause of the store's contracts is broken once, and the case that names it says so.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::ManualClock;
use outbox_conformance::store::{
    AppTransaction, CASES, HoldingFixture, Store, StoreFixture, claims, holding, letters,
    quarantine,
};
use outbox_core::{
    Backlog, Claim, ClaimToken, ClaimedEvent, DeadLetter, DeadLetterFilter, DeadLetterGroup,
    DeadLetters, DlqEntry, ErrorKind, Event, EventId, OutboxError, OutboxStorage, Outcome,
    QuarantineOutcome, Settlement,
};
use outbox_store_memory::{MemoryOutbox, MemoryTransaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    InventsAnEvent,
    CommitsWhatIsDropped,
    LosesTheLastOfACommit,
    LosesHeaders,
    TakesDuplicates,
    IgnoresTheLimit,
    ReversesTheOrder,
    LeasesForNoTime,
    RetriesAtOnce,
    ChargesNoRetry,
    ChargesAReleaseToo,
    IgnoresDelays,
    KeepsFreshEventsBack,
    KeepsRetriesBack,
    SettlesWhatWasLost,
    LosesALateClaim,
    SettlesAnything,
    BlamesEveryone,
    BlamesNobody,
    CannotWait,
    TellsNoBacklog,
    ClaimsToHaveMoved,
    NeverBusy,
    MovesThePublished,
    HoldsTheKey,
    LosesTheReason,
    SkipsALetter,
    PurgesWhatItReplays,
    ReplaysWithoutBound,
    IgnoresTheType,
    HoldsNothing,
    HoldsAlways,
    HoldsWhatComesBefore,
    ReplaysToTheEnd,
    KeepsWhatItPurges,
    HurriesOnReplay,
    HoldsForAReplacedLetter,
}

use Fault as F;

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (F::InventsAnEvent, "an_empty_outbox_gives_an_empty_claim"),
    (
        F::CommitsWhatIsDropped,
        "a_rolled_back_append_never_appears",
    ),
    (F::LosesHeaders, "an_event_comes_back_exactly"),
    (F::TakesDuplicates, "a_taken_id_or_token_is_a_duplicate"),
    (F::IgnoresTheLimit, "a_claim_is_bounded_and_exclusive"),
    (F::LeasesForNoTime, "a_claim_is_bounded_and_exclusive"),
    (F::ReversesTheOrder, "events_of_one_key_keep_their_order"),
    (F::LeasesForNoTime, "events_of_one_key_keep_their_order"),
    (F::LosesTheLastOfACommit, "concurrent_claims_are_disjoint"),
    (
        F::LosesTheLastOfACommit,
        "concurrent_writers_are_delivered_once_and_in_order",
    ),
    (
        F::CommitsWhatIsDropped,
        "concurrent_writers_are_delivered_once_and_in_order",
    ),
    (F::RetriesAtOnce, "a_retry_waits_and_its_key_waits_with_it"),
    (
        F::KeepsRetriesBack,
        "a_retry_waits_and_its_key_waits_with_it",
    ),
    (F::ChargesNoRetry, "a_retry_waits_and_its_key_waits_with_it"),
    (F::ChargesAReleaseToo, "a_release_charges_nothing"),
    (
        F::IgnoresDelays,
        "a_delayed_event_is_not_early_and_its_key_waits",
    ),
    (
        F::KeepsFreshEventsBack,
        "retries_do_not_starve_fresh_events",
    ),
    (F::KeepsRetriesBack, "fresh_events_do_not_starve_retries"),
    (F::SettlesWhatWasLost, "a_lost_claim_settles_nothing"),
    (
        F::LosesALateClaim,
        "a_lease_that_ran_out_still_settles_if_nobody_took_over",
    ),
    (F::SettlesAnything, "a_settlement_is_of_exactly_its_claim"),
    (F::BlamesEveryone, "a_lost_worker_blames_only_a_lone_event"),
    (F::BlamesNobody, "a_lost_worker_blames_only_a_lone_event"),
    (F::CannotWait, "waiting_ends_when_there_is_work"),
    (F::TellsNoBacklog, "the_backlog_is_told"),
    (F::ClaimsToHaveMoved, "quarantine_is_atomic_and_idempotent"),
    (F::NeverBusy, "an_event_in_flight_is_busy"),
    (F::MovesThePublished, "a_published_event_is_missing"),
    (F::HoldsTheKey, "successors_go_on_after_a_quarantine"),
    (F::RetriesAtOnce, "successors_go_on_after_a_quarantine"),
    (
        F::LosesTheReason,
        "a_dead_event_is_quarantined_with_its_reason",
    ),
    (F::SkipsALetter, "pages_have_no_gaps_and_no_repeats"),
    (
        F::PurgesWhatItReplays,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::MovesThePublished,
        "a_stale_entry_does_not_quarantine_a_replayed_event",
    ),
    (F::ReplaysWithoutBound, "replay_and_purge_are_bounded"),
    (F::IgnoresTheType, "filters_and_statistics_agree"),
    (F::HoldsNothing, "successors_wait_for_a_letter_of_their_key"),
    (F::HoldsTheKey, "successors_wait_for_a_letter_of_their_key"),
    (F::HoldsAlways, "every_handle_keeps_a_hold"),
    (F::ReplaysToTheEnd, "a_replay_goes_before_its_successors"),
    (F::KeepsWhatItPurges, "a_purge_lets_the_successors_go_on"),
    (F::HoldsNothing, "a_dead_event_holds_its_key"),
    (F::HoldsWhatComesBefore, "events_before_a_letter_go_on"),
    (
        F::HurriesOnReplay,
        "a_replay_does_not_hurry_an_event_before_it",
    ),
    (F::HoldsNothing, "isolation_does_not_end_a_hold"),
    (F::NeverBusy, "an_event_that_nobody_took_up_is_busy"),
    (
        F::HoldsForAReplacedLetter,
        "a_replaced_letter_holds_nothing",
    ),
    (
        F::HoldsWhatComesBefore,
        "an_event_without_a_key_holds_nothing",
    ),
];

/// A sound store, and what goes wrong in front of it. Also its own fixture.
#[derive(Clone, Debug)]
struct Saboteur {
    store: MemoryOutbox,
    clock: ManualClock,
    fault: Fault,
    held: Arc<AtomicBool>,
    holds: bool,
}

impl Saboteur {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let store = MemoryOutbox::new().with_clock(clock.clock());
        Self {
            store,
            clock,
            fault,
            held: Arc::default(),
            holds: false,
        }
    }

    /// Every key waits while there is a letter, whatever came before it.
    async fn holds_all(&self) -> Done<bool> {
        let letters = self.store.backlog().await?.dead_letters;
        Ok(self.fault == F::HoldsWhatComesBefore && letters > 0)
    }

    fn change(&self, outcome: &Outcome) -> Outcome {
        let hour = Duration::from_secs(3600);
        match (self.fault, outcome.clone()) {
            (F::RetriesAtOnce, Outcome::Retry { error, .. }) => Outcome::Retry {
                delay: Duration::ZERO,
                error,
            },
            (F::KeepsRetriesBack, Outcome::Retry { delay, error }) => Outcome::Retry {
                delay: delay + hour,
                error,
            },
            (F::ChargesNoRetry, Outcome::Retry { delay, .. }) => Outcome::Released { delay },
            (F::ChargesAReleaseToo, Outcome::Released { delay }) => Outcome::Retry {
                delay,
                error: "charged".into(),
            },
            (F::LosesTheReason, Outcome::Dead { .. }) => Outcome::Dead { reason: "".into() },
            (_, outcome) => outcome,
        }
    }
}

type Done<T> = Result<T, OutboxError>;

#[async_trait]
impl OutboxStorage for Saboteur {
    async fn claim(&self, limit: usize, lease: Duration) -> Done<Claim> {
        if self.held.load(Ordering::SeqCst) || self.holds_all().await? {
            return Ok(Claim::empty());
        }
        let limit = if self.fault == F::IgnoresTheLimit {
            limit * 2
        } else {
            limit
        };
        let lease = if self.fault == F::LeasesForNoTime {
            Duration::ZERO
        } else {
            lease
        };
        let mut claim = self.store.claim(limit, lease).await?;
        match self.fault {
            F::InventsAnEvent if claim.events.is_empty() => {
                claim
                    .events
                    .push(ClaimedEvent::new(Event::new("invented", "x"), 0, false));
            }
            F::ReversesTheOrder => claim.events.reverse(),
            F::LosesHeaders => {
                for claimed in &mut claim.events {
                    claimed.event.headers.clear();
                }
            }
            F::BlamesEveryone | F::BlamesNobody => {
                for claimed in &mut claim.events {
                    claimed.worker_lost = self.fault == F::BlamesEveryone;
                }
            }
            _ => {}
        }
        Ok(claim)
    }

    async fn settle(&self, token: ClaimToken, settlements: &[Settlement]) -> Done<()> {
        if self.fault == F::LosesALateClaim {
            // Looks for leases that ran out before it settles, not after.
            self.store.quarantine_events(&[]).await?;
        }
        let changed: Vec<_> = settlements
            .iter()
            .map(|one| Settlement::new(one.id, self.change(&one.outcome)))
            .collect();
        match (self.fault, self.store.settle(token, &changed).await) {
            (F::SettlesWhatWasLost, Err(error)) if error.kind() == ErrorKind::LeaseLost => Ok(()),
            (F::SettlesAnything, Err(error)) if error.kind() == ErrorKind::Invalid => Ok(()),
            (_, result) => result,
        }
    }

    async fn quarantine_events(&self, entries: &[DlqEntry]) -> Done<Vec<QuarantineOutcome>> {
        if self.fault == F::ClaimsToHaveMoved {
            return Ok(vec![QuarantineOutcome::Moved; entries.len()]);
        }
        let mut replaced = false;
        for entry in entries {
            replaced |= self.store.find(entry.id).await?.is_some();
        }
        let mut outcomes = self.store.quarantine_events(entries).await?;
        for outcome in &mut outcomes {
            match (self.fault, *outcome) {
                (F::NeverBusy, QuarantineOutcome::Busy)
                | (F::MovesThePublished, QuarantineOutcome::Missing) => {
                    *outcome = QuarantineOutcome::Moved;
                }
                (F::HoldsTheKey, QuarantineOutcome::Moved) => {
                    self.held.store(true, Ordering::SeqCst);
                }
                (F::HoldsForAReplacedLetter, QuarantineOutcome::Moved) => {
                    self.held.fetch_or(replaced, Ordering::SeqCst);
                }
                _ => {}
            }
        }
        Ok(outcomes)
    }

    fn holds_keys(&self) -> bool {
        self.holds
    }

    async fn wait_for_work(&self, at_most: Duration) -> Done<()> {
        if self.fault == F::CannotWait {
            return Err(OutboxError::new(ErrorKind::Unavailable, "saboteur", "wait"));
        }
        self.store.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Done<Backlog> {
        if self.fault == F::TellsNoBacklog {
            return Ok(Backlog::default());
        }
        self.store.backlog().await
    }
}

#[async_trait]
impl DeadLetters for Saboteur {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Done<Vec<DeadLetter>> {
        let mut filter = filter.clone();
        if self.fault == F::IgnoresTheType {
            filter.event_type = None;
        }
        let skip = u64::from(self.fault == F::SkipsALetter);
        self.store
            .list(&filter, after.map(|after| after + skip), limit)
            .await
    }

    async fn find(&self, id: EventId) -> Done<Option<DeadLetter>> {
        self.store.find(id).await
    }

    async fn replay(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        match self.fault {
            F::PurgesWhatItReplays => self.store.purge(filter, limit).await,
            F::ReplaysToTheEnd => {
                let letters = self.store.list(filter, None, limit).await?;
                let ids = self.store.purge(filter, limit).await?;
                let events: Vec<Event> = letters.into_iter().map(|letter| letter.event).collect();
                self.store.append(&events)?;
                Ok(ids)
            }
            F::HurriesOnReplay => {
                self.clock.advance(Duration::from_secs(3600));
                self.store.replay(filter, limit).await
            }
            F::ReplaysWithoutBound => self.store.replay(filter, usize::MAX).await,
            _ => self.store.replay(filter, limit).await,
        }
    }

    async fn purge(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        if self.fault == F::KeepsWhatItPurges {
            let letters = self.store.list(filter, None, limit).await?;
            return Ok(letters.iter().map(|letter| letter.event.id).collect());
        }
        self.store.purge(filter, limit).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<DeadLetterGroup>> {
        self.store.statistics(filter, limit).await
    }
}

struct Transaction {
    inner: Option<MemoryTransaction>,
    fault: Fault,
}

impl AppTransaction for Transaction {
    fn append(&mut self, events: &[Event]) -> Done<()> {
        let mut events = events.to_vec();
        match self.fault {
            F::LosesTheLastOfACommit => drop(events.pop()),
            F::IgnoresDelays => events
                .iter_mut()
                .for_each(|event| event.available_at = None),
            F::KeepsFreshEventsBack => {
                let far = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
                for event in events
                    .iter_mut()
                    .filter(|event| &event.payload[..] == b"fresh")
                {
                    event.available_at = Some(far);
                }
            }
            _ => {}
        }
        self.inner
            .as_mut()
            .map_or(Ok(()), |inner| inner.append(&events))
    }

    fn commit(mut self: Box<Self>) -> Done<()> {
        let result = self.inner.take().map_or(Ok(()), MemoryTransaction::commit);
        if self.fault == F::TakesDuplicates {
            Ok(())
        } else {
            result
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let (F::CommitsWhatIsDropped, Some(inner)) = (self.fault, self.inner.take()) {
            drop(inner.commit());
        }
    }
}

#[async_trait]
impl StoreFixture for Saboteur {
    async fn handle(&self) -> Arc<dyn Store> {
        let mut plain = self.clone();
        if self.fault == F::HoldsAlways {
            plain.store = plain.store.holding_keys();
        }
        Arc::new(plain)
    }

    fn begin(&self) -> Box<dyn AppTransaction> {
        Box::new(Transaction {
            inner: Some(self.store.begin()),
            fault: self.fault,
        })
    }

    async fn elapse(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl HoldingFixture for Saboteur {
    async fn holding_handle(&self) -> Arc<dyn Store> {
        let mut holding = self.clone();
        holding.holds = true;
        if self.fault != F::HoldsNothing {
            holding.store = holding.store.holding_keys();
        }
        Arc::new(holding)
    }
}

outbox_conformance::store_suite! { @list runner }

#[test]
fn every_case_refuses_its_faults_in_every_run() {
    let trial = Trial {
        cases: CASES,
        refusals: REFUSALS,
        sound: Fault::None,
        run: |case, fault| block_on(run(case, Saboteur::new(fault))),
    };
    trial.judge();
}
