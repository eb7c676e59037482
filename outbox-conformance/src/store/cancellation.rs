//! Callers that go away at each await point of a call in turn.

use super::{
    LEASE, Store, StoreFixture, append, claim, counted, event_ids, keyed, released, retry, settle,
};
use crate::check::{check, check_eq, ok, refuse};
use crate::crash::at_each_point;
use outbox_core::{
    Claim, ClaimLimit, ClaimToken, ClaimedEvent, DeadLetterFilter, DlqEntry, ErrorKind, Event,
    EventId, OutboxError, Outcome, Settlement,
};
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The state of an event at the end of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// A worker claimed it, after so many failed attempts.
    Delivered(u32),
    DeadLetter,
    Gone,
}

use Fate::{DeadLetter, Delivered, Gone};

/// The fates of the four events of a round if no call is applied to them.
const UNTOUCHED: [Fate; 4] = [Delivered(0); 4];

/// Two handles to a store: calls are dropped on one, and the other reads the state of the events.
struct Desk<F> {
    fixture: F,
    store: Arc<dyn Store>,
    other: Arc<dyn Store>,
}

/// Two events each of two keys.
struct Round<'d, F> {
    desk: &'d Desk<F>,
    events: Vec<Event>,
}

impl<F: StoreFixture> Desk<F> {
    async fn new(fixture: F) -> Self {
        let [store, other] = [fixture.handle().await, fixture.handle().await];
        Self {
            fixture,
            store,
            other,
        }
    }

    fn round(&self) -> Round<'_, F> {
        let events = [keyed("a", 2), keyed("b", 2)].concat();
        append(&self.fixture, &events);
        Round { desk: self, events }
    }

    /// With all events in the quarantine.
    async fn dead_round(&self) -> Round<'_, F> {
        let round = self.round();
        loop {
            let claim = claim(&self.store, 10).await;
            if claim.events.is_empty() {
                return round;
            }
            settle(&self.store, &claim, &dead()).await;
        }
    }
}

impl<F: StoreFixture> Round<'_, F> {
    /// The outcome of each event, of a claim that has all of them.
    fn settlements(&self, claim: &Claim, outcomes: &[Outcome; 4]) -> Vec<Settlement> {
        check_eq!(
            claim.events.len(),
            4,
            "events in a claim of all that is due"
        );
        let events = self.events.iter().zip(outcomes);
        events
            .map(|(event, outcome)| Settlement::new(event.id, outcome.clone()))
            .collect()
    }

    /// Checks the fates of the events: `applied`, or `before` if the call was dropped. A server may
    /// still execute the call at the first look. Then removes the events.
    async fn end(&self, at: impl Debug, ended: bool, before: [Fate; 4], applied: [Fate; 4]) {
        let store = &self.desk.other;
        let mut delivered = Vec::new();
        for is_last in [ended, true] {
            self.desk.fixture.elapse(LEASE).await;
            deliver(store, &mut delivered).await;
            let fates = self.fates(store, &delivered).await;
            if fates == applied || (!ended && fates == before) {
                break;
            }
            check!(
                !is_last,
                "dropped at {at:?}: expected {before:?} or {applied:?}, came {fates:?}"
            );
            self.desk.fixture.end_abandoned_calls().await;
        }
        ok(store.purge(&DeadLetterFilter::all(), 100).await);
    }

    async fn fates(&self, store: &Arc<dyn Store>, delivered: &[ClaimedEvent]) -> Vec<Fate> {
        let mut seen = HashSet::new();
        let ids = delivered.iter().map(|one| one.event.id);
        check!(
            ids.clone().all(|id| seen.insert(id)),
            "expected each event once, came {:?}",
            ids.collect::<Vec<_>>()
        );
        let place = |event: &Event| ids.clone().position(|id| id == event.id);
        let in_order = |pair: &[Event]| match (place(&pair[0]), place(&pair[1])) {
            (Some(first), Some(second)) => first < second,
            _ => true,
        };
        check!(
            self.events.chunks(2).all(in_order),
            "expected the events of a key in their order, came {:?}",
            ids.clone().collect::<Vec<_>>()
        );
        let dead_letters = ok(store.list(&DeadLetterFilter::all(), None, 100).await);
        let fate = |event: &Event| {
            let dead_letter = dead_letters
                .iter()
                .any(|dead_letter| dead_letter.id == event.id);
            let found = delivered.iter().find(|one| one.event.id == event.id);
            match (found, dead_letter) {
                (Some(one), false) => Delivered(one.attempts),
                (None, true) => DeadLetter,
                (None, false) => Gone,
                (Some(_), true) => refuse!(
                    "expected an event that is delivered or a dead letter, came {} as both",
                    event.id
                ),
            }
        };
        self.events.iter().map(fate).collect()
    }
}

/// Publishes all that can be claimed now.
async fn deliver(store: &Arc<dyn Store>, delivered: &mut Vec<ClaimedEvent>) {
    loop {
        let claim = claim(store, 10).await;
        if claim.events.is_empty() {
            return;
        }
        settle(store, &claim, &Outcome::Published).await;
        delivered.extend(claim.events);
    }
}

fn dead() -> Outcome {
    Outcome::Dead {
        reason: "broken".into(),
    }
}

/// S1, S7, S10: a claim whose future is dropped is made or not; its events are claimed again when
/// its lease is over.
pub async fn a_dropped_claim_loses_nothing<F: StoreFixture>(fixture: F) {
    let desk = Desk::new(fixture).await;
    at_each_point("claim", async |point| {
        let round = desk.round();
        let claimed = point
            .reach(desk.store.claim(ClaimLimit::events(10), LEASE))
            .await;
        let ended = claimed.map(ok).is_some();
        round.end(point, ended, UNTOUCHED, UNTOUCHED).await;
        ended
    })
    .await;
}

/// S10: a settlement whose future is dropped is applied to all events of its claim or to none; made
/// again on the same handle it is applied once.
pub async fn a_dropped_settlement_is_applied_or_not<F: StoreFixture>(fixture: F) {
    let desk = Desk::new(fixture).await;
    let applied = [Gone, Delivered(1), DeadLetter, Delivered(0)];
    for again in [false, true] {
        let name = if again { "settle, again" } else { "settle" };
        at_each_point(name, async |point| {
            let round = desk.round();
            let claim = claim(&desk.store, 10).await;
            let outcomes = [Outcome::Published, retry(1), dead(), released()];
            let settlements = round.settlements(&claim, &outcomes);
            let settling = desk.store.settle(claim.token, &settlements);
            let ended = point.reach(settling).await.map(ok).is_some();
            if again && !ended {
                settle_again(&desk.store, claim.token, &settlements).await;
            }
            let settled = ended || again;
            round.end(point, settled, UNTOUCHED, applied).await;
            ended
        })
        .await;
    }
}

/// S10, S22: a settlement that keeps an event is applied to all events or to none if its future is dropped,
/// and so is the late settlement.
pub async fn a_dropped_settlement_that_keeps_is_applied_or_not<F: StoreFixture>(fixture: F) {
    let desk = Desk::new(fixture).await;
    let outcomes = [Outcome::Published, retry(1), Outcome::Kept, released()];
    let kept = [Gone, Delivered(1), Delivered(0), Delivered(0)];
    at_each_point("settle, keeping", async |point| {
        let round = desk.round();
        let claim = claim(&desk.store, 10).await;
        let settlements = round.settlements(&claim, &outcomes);
        let settling = desk.store.settle(claim.token, &settlements);
        let ended = point.reach(settling).await.map(ok).is_some();
        round.end(point, ended, UNTOUCHED, kept).await;
        ended
    })
    .await;
    at_each_point("settle, late", async |point| {
        let round = desk.round();
        let claim = claim(&desk.store, 10).await;
        let settlements = round.settlements(&claim, &outcomes);
        ok(desk.store.settle(claim.token, &settlements).await);
        let late = [Settlement::new(round.events[2].id, retry(1))];
        let settling = desk.store.settle(claim.token, &late);
        let ended = point.reach(settling).await.map(ok).is_some();
        let applied = [Gone, Delivered(1), Delivered(1), Delivered(0)];
        round.end(point, ended, kept, applied).await;
        ended
    })
    .await;
}

/// S10, S23: a resumption whose future is dropped leaves each event held or due, and the next one resumes
/// the others.
pub async fn a_dropped_resumption_resumes_whole_events<F: StoreFixture>(fixture: F) {
    let desk = Desk::new(fixture).await;
    let held = Outcome::Held {
        destination: "a".into(),
        delay: Duration::from_secs(3600),
    };
    at_each_point("resume", async |point| {
        let round = desk.round();
        let claim = claim(&desk.store, 10).await;
        let settlements = round.settlements(&claim, &[(); 4].map(|()| held.clone()));
        ok(desk.store.settle(claim.token, &settlements).await);
        let resumed = point.reach(desk.store.resume("a", 10)).await;
        let ended = resumed.map(ok).is_some();
        let mut delivered = Vec::new();
        for is_last in [ended, true] {
            while ok(desk.other.resume("a", 1).await) > 0 {}
            deliver(&desk.other, &mut delivered).await;
            if round.fates(&desk.other, &delivered).await == UNTOUCHED {
                break;
            }
            check!(
                !is_last,
                "dropped at {point:?}: expected all events, came {delivered:?}"
            );
            desk.fixture.end_abandoned_calls().await;
        }
        ok(desk.store.resume("a", 10).await);
        ended
    })
    .await;
}

async fn settle_again(store: &Arc<dyn Store>, token: ClaimToken, settlements: &[Settlement]) {
    if let Err(error) = store.settle(token, settlements).await {
        check_eq!(error.kind(), ErrorKind::LeaseLost, "the kind of {error}");
    }
}

/// S8, S10: a quarantine whose future is dropped moves all of its events or none.
pub async fn a_dropped_quarantine_is_applied_or_not<F: StoreFixture>(fixture: F) {
    let (desk, now) = (Desk::new(fixture).await, SystemTime::now());
    at_each_point("quarantine_events", async |point| {
        let round = desk.round();
        let ids = [round.events[0].id, EventId::new(), round.events[2].id];
        let entries = ids.map(|id| DlqEntry::new(id, 3, now, now));
        let quarantine = desk.store.quarantine_events(&entries);
        let ended = point.reach(quarantine).await.map(ok).is_some();
        let applied = [DeadLetter, Delivered(0), DeadLetter, Delivered(0)];
        round.end(point, ended, UNTOUCHED, applied).await;
        ended
    })
    .await;
}

/// D5: a replay or a purge whose future is dropped is applied to all of its dead letters or to
/// none.
pub async fn a_dropped_replay_or_purge_is_applied_or_not<F: StoreFixture>(fixture: F) {
    let (desk, all) = (Desk::new(fixture).await, DeadLetterFilter::all());
    at_each_point("replay", async |point| {
        let round = desk.dead_round().await;
        let ended = point
            .reach(desk.store.replay(&all, 10))
            .await
            .map(ok)
            .is_some();
        round.end(point, ended, [DeadLetter; 4], UNTOUCHED).await;
        ended
    })
    .await;
    at_each_point("purge", async |point| {
        let round = desk.dead_round().await;
        let ended = point
            .reach(desk.store.purge(&all, 10))
            .await
            .map(ok)
            .is_some();
        round.end(point, ended, [DeadLetter; 4], [Gone; 4]).await;
        ended
    })
    .await;
}

/// S10: a call that only reads, waits or cleans up changes nothing when its future is dropped, and
/// holds nothing that later calls need.
pub async fn a_dropped_look_changes_nothing<F: StoreFixture>(fixture: F) {
    let (desk, all) = (Desk::new(fixture).await, DeadLetterFilter::all());
    let store = &desk.store;
    look(&desk, "list", |_| store.list(&all, None, 10)).await;
    look(&desk, "export", |_| store.export(&all, None, 10, 1)).await;
    look(&desk, "find", |ids| store.find(ids[0])).await;
    look(&desk, "statistics", |_| store.statistics(&all, 10)).await;
    look(&desk, "backlog", |_| store.backlog()).await;
    look(&desk, "clean_up", |_| store.clean_up(10)).await;
    let wait = |_: &[EventId]| store.wait_for_work(Duration::from_millis(5));
    look(&desk, "wait_for_work", wait).await;
}

/// Drops a call that only reads, on a store with two dead letters, two waiting events and the rest
/// of a published one.
async fn look<F: StoreFixture, T, L>(desk: &Desk<F>, name: &str, call: impl Fn(&[EventId]) -> L)
where
    L: Future<Output = Result<T, OutboxError>>,
{
    append(&desk.fixture, &keyed("used", 1));
    deliver(&desk.store, &mut Vec::new()).await;
    let round = desk.round();
    let claim = claim(&desk.store, 10).await;
    let settlements = round.settlements(&claim, &[dead(), dead(), retry(1), released()]);
    ok(desk.store.settle(claim.token, &settlements).await);
    let ids = event_ids(&round.events);
    let expected = counted(ok(desk.store.backlog().await));
    at_each_point(name, async |point| {
        let ended = point.reach(call(&ids)).await.map(ok).is_some();
        for store in [&desk.store, &desk.other] {
            check_eq!(
                counted(ok(store.backlog().await)),
                expected,
                "the backlog after {name} was dropped at {point:?}"
            );
        }
        ended
    })
    .await;
    let fates = [DeadLetter, DeadLetter, Delivered(1), Delivered(0)];
    round.end(name, true, fates, fates).await;
}
