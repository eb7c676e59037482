//! Each clause of the inbox's contract is broken once, and the case that checks the clause fails.

use crate::harness::{Trial, block_on};
use async_trait::async_trait;
use outbox_conformance::inbox::{
    CASES, End, Inbox, InboxFixture, cancellation, clauses, clean_up, delivery,
};
use outbox_core::{EventId, OutboxError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    AcceptsAgain,
    AcceptsNothing,
    RemembersInItsHandle,
    RemembersRolledBackEvents,
    RollBackUndoesTheFirst,
    LooksBeforeItLocks,
    BelievesTheUncommitted,
    IgnoresCase,
    CutsNames,
    ComparesHalfOfAnId,
    IgnoresTheVersion,
    ForgetsNothing,
    IgnoresTheLimit,
    CountsAllThatIsOld,
    RefusesTheForgotten,
    ForgetsTheNewest,
    ForgetsTheYoung,
    ForgetsForAllConsumers,
    CountsWhatOthersForget,
    WritesBackWhatItRead,
    AcceptsOutsideTheTransaction,
    StaysLockedWhenDropped,
    ForgetsAllWhenDropped,
}

use Fault as F;

/// Which case refuses which fault.
const REFUSALS: &[(Fault, &str)] = &[
    (F::AcceptsAgain, "an_event_is_accepted_once"),
    (F::AcceptsNothing, "an_event_is_accepted_once"),
    (F::RemembersInItsHandle, "an_event_is_accepted_once"),
    (
        F::RemembersRolledBackEvents,
        "a_delivery_after_a_rollback_is_accepted",
    ),
    (
        F::RollBackUndoesTheFirst,
        "a_delivery_after_a_rollback_is_accepted",
    ),
    (
        F::LooksBeforeItLocks,
        "one_of_several_concurrent_deliveries_is_accepted",
    ),
    (
        F::BelievesTheUncommitted,
        "a_concurrent_rollback_hides_no_event",
    ),
    (F::IgnoresCase, "consumers_do_not_affect_each_other"),
    (F::CutsNames, "consumers_do_not_affect_each_other"),
    (
        F::ComparesHalfOfAnId,
        "ids_that_differ_in_one_bit_are_different_events",
    ),
    (
        F::IgnoresTheVersion,
        "ids_that_differ_in_one_bit_are_different_events",
    ),
    (
        F::ForgetsNothing,
        "a_clean_up_forgets_old_events_up_to_its_limit",
    ),
    (
        F::IgnoresTheLimit,
        "a_clean_up_forgets_old_events_up_to_its_limit",
    ),
    (
        F::CountsAllThatIsOld,
        "a_clean_up_forgets_old_events_up_to_its_limit",
    ),
    (
        F::RefusesTheForgotten,
        "a_clean_up_forgets_old_events_up_to_its_limit",
    ),
    (
        F::ForgetsTheNewest,
        "a_clean_up_forgets_the_oldest_events_first",
    ),
    (F::ForgetsTheYoung, "a_clean_up_keeps_younger_events"),
    (
        F::ForgetsForAllConsumers,
        "a_clean_up_keeps_the_events_of_other_consumers",
    ),
    (
        F::CountsWhatOthersForget,
        "concurrent_clean_ups_forget_each_event_once",
    ),
    (
        F::WritesBackWhatItRead,
        "concurrent_clean_ups_forget_each_event_once",
    ),
    (
        F::AcceptsOutsideTheTransaction,
        "the_work_of_a_dropped_delivery_is_done_once",
    ),
    (
        F::StaysLockedWhenDropped,
        "the_work_of_a_dropped_delivery_is_done_once",
    ),
    (
        F::ForgetsAllWhenDropped,
        "a_dropped_clean_up_keeps_younger_events",
    ),
    (
        F::StaysLockedWhenDropped,
        "a_dropped_clean_up_keeps_younger_events",
    ),
];

/// A consumer and an event.
type Key = (String, u128);

/// What is committed.
#[derive(Clone, Debug, Default)]
struct Tables {
    /// With the age.
    accepted: BTreeMap<Key, Duration>,
    forgotten: BTreeSet<Key>,
    work: BTreeMap<Key, usize>,
}

/// An inbox in memory with one fault. A transaction holds the lock from its start to its end, and
/// changes a copy of the tables.
#[derive(Clone, Debug)]
struct Saboteur {
    fault: Fault,
    consumer: String,
    handles: Arc<AtomicUsize>,
    handle: usize,
    tables: Arc<Mutex<Tables>>,
    /// Accepted in a transaction that has not ended.
    uncommitted: Arc<Mutex<BTreeSet<Key>>>,
    is_locked: Arc<AtomicBool>,
    racing: Arc<Racing>,
}

/// The calls between the two steps of a fault.
#[derive(Debug, Default)]
struct Racing {
    waiting: AtomicBool,
    met: AtomicUsize,
}

impl Racing {
    /// Waits until another call is between the two steps too. So the calls meet in every run, also on
    /// threads and on a loaded machine. A call that stays alone continues after a while.
    async fn meet(&self) {
        let met = self.met.load(SeqCst);
        if self.waiting.swap(true, SeqCst) {
            self.met.fetch_add(1, SeqCst);
            return;
        }
        for _ in 0..200 {
            if self.met.load(SeqCst) != met {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.waiting.store(false, SeqCst);
    }
}

impl Saboteur {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            consumer: String::new(),
            handles: Arc::default(),
            handle: 0,
            tables: Arc::default(),
            uncommitted: Arc::default(),
            is_locked: Arc::default(),
            racing: Arc::default(),
        }
    }

    fn key(&self, id: EventId) -> Key {
        let name = match self.fault {
            F::IgnoresCase => self.consumer.to_lowercase(),
            F::CutsNames => self.consumer.chars().take(7).collect(),
            F::RemembersInItsHandle => format!("{} {}", self.consumer, self.handle),
            _ => self.consumer.clone(),
        };
        let id = id.as_uuid().as_u128();
        let id = match self.fault {
            F::ComparesHalfOfAnId => id >> 64,
            F::IgnoresTheVersion => id & !(0xf << 76),
            _ => id,
        };
        (name, id)
    }

    /// Waits until no dropped call has left the lock behind.
    async fn lock(&self) {
        while self.is_locked.load(SeqCst) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let stays = self.fault == F::StaysLockedWhenDropped;
        self.is_locked.store(stays, SeqCst);
    }

    fn unlock(&self) {
        self.is_locked.store(false, SeqCst);
    }

    /// The keys that a clean-up forgets, from the oldest.
    fn old(&self, tables: &Tables, retention: Duration) -> Vec<Key> {
        let own = |key: &Key| key.0 == self.consumer || self.fault == F::ForgetsForAllConsumers;
        let is_old = |age: Duration| age > retention || self.fault == F::ForgetsTheYoung;
        let old = tables.accepted.iter();
        let mut old: Vec<_> = old.filter(|(key, age)| own(key) && is_old(**age)).collect();
        old.sort_by_key(|(_, age)| std::cmp::Reverse(**age));
        if self.fault == F::ForgetsTheNewest {
            old.reverse();
        }
        old.into_iter().map(|(key, _)| key.clone()).collect()
    }
}

#[async_trait]
impl Inbox for Saboteur {
    async fn deliver(&self, id: EventId, end: End) -> Result<bool, OutboxError> {
        let (key, done) = (
            self.key(id),
            (self.consumer.clone(), id.as_uuid().as_u128()),
        );
        let mut looked = false;
        if self.fault == F::LooksBeforeItLocks {
            looked = self.tables.lock().await.accepted.contains_key(&key);
            self.racing.meet().await;
        }
        if self.fault == F::BelievesTheUncommitted && self.uncommitted.lock().await.contains(&key) {
            self.racing.meet().await;
            return Ok(false);
        }
        self.lock().await;
        let mut tables = self.tables.lock().await;
        let mut draft = tables.clone();
        let is_new = match self.fault {
            F::AcceptsAgain => true,
            F::AcceptsNothing => false,
            F::LooksBeforeItLocks => !looked,
            F::RefusesTheForgotten if draft.forgotten.contains(&key) => false,
            _ => !draft.accepted.contains_key(&key),
        };
        if is_new {
            draft.accepted.insert(key.clone(), Duration::ZERO);
            self.uncommitted.lock().await.insert(key.clone());
        }
        if self.fault == F::AcceptsOutsideTheTransaction {
            tables.accepted.clone_from(&draft.accepted);
        }
        match self.fault {
            F::BelievesTheUncommitted => self.racing.meet().await,
            _ => yield_now().await,
        }
        *draft.work.entry(done).or_default() += usize::from(is_new);
        match (end, self.fault) {
            (End::Commit, _) => *tables = draft,
            (_, F::RemembersRolledBackEvents) => tables.accepted = draft.accepted,
            (_, F::RollBackUndoesTheFirst) => drop(tables.accepted.remove(&key)),
            _ => {}
        }
        self.uncommitted.lock().await.remove(&key);
        self.unlock();
        Ok(is_new)
    }

    async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError> {
        self.lock().await;
        let mut tables = self.tables.lock().await;
        let old = self.old(&tables, retention);
        let limit = match self.fault {
            F::ForgetsNothing => 0,
            F::IgnoresTheLimit => usize::MAX,
            _ => limit,
        };
        let chosen = &old[..old.len().min(limit)];
        let mut draft = tables.clone();
        draft.accepted.retain(|key, _| !chosen.contains(key));
        draft.forgotten.extend(chosen.iter().cloned());
        match self.fault {
            F::CountsWhatOthersForget | F::WritesBackWhatItRead => drop(tables),
            F::ForgetsAllWhenDropped => {
                tables.accepted.clear();
                yield_now().await;
                *tables = draft.clone();
                drop(tables);
            }
            _ => {
                yield_now().await;
                *tables = draft.clone();
                drop(tables);
            }
        }
        match self.fault {
            F::CountsWhatOthersForget => {
                if limit < old.len() {
                    self.racing.meet().await;
                }
                let accepted = &mut self.tables.lock().await.accepted;
                accepted.retain(|key, _| !chosen.contains(key));
            }
            F::WritesBackWhatItRead => {
                if limit < old.len() {
                    self.racing.meet().await;
                }
                self.tables.lock().await.accepted = draft.accepted;
            }
            _ => yield_now().await,
        }
        self.unlock();
        Ok(match self.fault {
            F::CountsAllThatIsOld => old.len(),
            _ => chosen.len(),
        })
    }
}

#[async_trait]
impl InboxFixture for Saboteur {
    async fn handle(&self, consumer: &str) -> Arc<dyn Inbox> {
        let mut handle = self.clone();
        consumer.clone_into(&mut handle.consumer);
        handle.handle = self.handles.fetch_add(1, SeqCst);
        Arc::new(handle)
    }

    async fn work(&self, consumer: &str, id: EventId) -> usize {
        let key = (consumer.to_owned(), id.as_uuid().as_u128());
        self.tables
            .lock()
            .await
            .work
            .get(&key)
            .copied()
            .unwrap_or(0)
    }

    async fn elapse(&self, time: Duration) {
        for age in self.tables.lock().await.accepted.values_mut() {
            *age += time;
        }
    }
}

outbox_conformance::inbox_suite! { @list runner }

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

/// The cases with concurrent calls.
const RACES: &[&str] = &[
    "one_of_several_concurrent_deliveries_is_accepted",
    "a_concurrent_rollback_hides_no_event",
    "concurrent_clean_ups_forget_each_event_once",
];

#[test]
fn every_race_refuses_its_faults_on_threads_too() {
    TRIAL.judge_on_threads(RACES, &[], |case, fault| {
        outbox_conformance::run(move || run(case, move || Saboteur::new(fault)));
    });
}
