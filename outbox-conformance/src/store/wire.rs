//! A connection that is cut at each piece of a request, and within each reply at the first bytes and
//! then at regular distances.

use super::{
    LEASE, Store, StoreFixture, WireFixture, append, claim, event_ids, ids, keyed, publish_all,
    released, retry, settle,
};
use crate::check::{check, check_eq, ok, refuse};
use crate::wire::at_each_place;
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DlqEntry, ErrorKind, Event, EventId, OutboxError, Outcome,
    QuarantineOutcome, Settlement,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How many events wait, and how many dead letters there are.
async fn amounts(store: &Arc<dyn Store>) -> (u64, u64) {
    let backlog = ok(store.backlog().await);
    (backlog.pending, backlog.dead_letters)
}

/// Leaves nothing for the next round.
async fn empty<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>) {
    fixture.elapse(2 * LEASE).await;
    publish_all(store).await;
    ok(store.purge(&DeadLetterFilter::all(), 100).await);
    check_eq!(amounts(store).await, (0, 0));
}

/// The events of a lost claim come again, in order. The server may still run a claim whose connection
/// was cut, so its lease may start after the first look.
async fn check_come_back<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>, events: &[Event]) {
    fixture.elapse(2 * LEASE).await;
    let mut published = publish_all(store).await;
    if published.len() < events.len() {
        fixture.end_abandoned_calls().await;
        fixture.elapse(2 * LEASE).await;
        published.extend(publish_all(store).await);
    }
    check_eq!(published, event_ids(events), "events after the lease");
}

/// Two dead letters, with one more event that waits.
async fn two_dead_letters<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>) -> Vec<EventId> {
    let events = keyed("k", 3);
    append(fixture, &events);
    let claim = claim(store, 2).await;
    let reason = "refused".into();
    settle(store, &claim, &Outcome::Dead { reason }).await;
    check_eq!(amounts(store).await, (1, 2));
    ids(&claim.events)
}

/// S1: a transaction whose commit was cut is committed whole or not at all, one that was cut before
/// it never is.
pub async fn a_cut_append_is_committed_whole_or_not<F: WireFixture>(fixture: F) {
    let (store, _) = (fixture.handle().await, fixture.wired().await);
    at_each_place(fixture.wire(), async |cut| {
        let mut transaction = fixture.begin_wired();
        let events = keyed("k", 3);
        let mut has_appended = false;
        let result = cut
            .during(async {
                transaction.append(&events[..1])?;
                transaction.append(&events[1..])?;
                has_appended = true;
                transaction.commit()
            })
            .await;
        let published = publish_all(&store).await;
        let may_be_missing = result.is_err() && published.is_empty();
        let may_be_there = has_appended && published == event_ids(&events);
        check!(
            may_be_missing || may_be_there,
            "expected all events, or none after an error, came {published:?} after {result:?}"
        );
        append(&fixture, &keyed("k", 1));
        check_eq!(publish_all(&store).await.len(), 1);
    })
    .await;
}

/// S1, S7: the events of a claim whose reply was lost are claimed again, in order, when the lease
/// runs out.
pub async fn a_cut_claim_loses_nothing<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    at_each_place(fixture.wire(), async |cut| {
        let events = keyed("k", 3);
        append(&fixture, &events);
        let claimed = cut.during(wired.claim(ClaimLimit::events(2), LEASE)).await;
        let is_right = claimed
            .as_ref()
            .map_or(true, |claim| !claim.events.is_empty());
        check!(is_right, "expected events or an error, came an empty claim");
        check_eq!(amounts(&wired).await, (3, 0));
        check_come_back(&fixture, &wired, &events).await;
    })
    .await;
    empty(&fixture, &store).await;
}

/// One event of each outcome: published, to be tried again, dead, and released.
fn outcomes(claim: &Claim) -> Vec<Settlement> {
    let reason = "refused".into();
    let outcomes = [
        Outcome::Published,
        retry(1),
        Outcome::Dead { reason },
        released(),
    ];
    let ids = ids(&claim.events).into_iter();
    ids.zip(outcomes)
        .map(|(id, outcome)| Settlement::new(id, outcome))
        .collect()
}

/// S4: a settlement is applied whole or not at all, and a second attempt shows which.
pub async fn a_cut_settlement_is_applied_whole_or_not<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    at_each_place(fixture.wire(), async |cut| {
        append(
            &fixture,
            &["a", "b", "c", "d"].map(|key| keyed(key, 1).remove(0)),
        );
        let claim = claim(&wired, 4).await;
        check_eq!(claim.events.len(), 4);
        let outcomes = outcomes(&claim);
        let result = cut.during(wired.settle(claim.token, &outcomes)).await;
        let amounts_now = amounts(&store).await;
        let again = wired.settle(claim.token, &outcomes).await;
        match (&again, amounts_now) {
            (Ok(()), (4, 0)) => check!(result.is_err(), "expected one settlement that succeeds, came two"),
            (Err(error), (2, 1)) => {
                check_eq!(error.kind(), ErrorKind::LeaseLost, "the kind of {error}");
            }
            (again, amounts) => refuse!(
                "expected (4, 0) and a success, or (2, 1) and LeaseLost, came {amounts:?} and {again:?}"
            ),
        }
        check_eq!(amounts(&store).await, (2, 1));
        fixture.elapse(2 * LEASE).await;
        let rest: BTreeSet<EventId> = publish_all(&store).await.into_iter().collect();
        let all = ids(&claim.events);
        check_eq!(rest, BTreeSet::from([all[1], all[3]]));
        empty(&fixture, &store).await;
    })
    .await;
}

/// S21, S22: a settlement that keeps an event is applied whole or not at all, and so is the late settlement.
pub async fn a_cut_settlement_that_keeps_is_applied_whole_or_not<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    for is_late in [false, true] {
        at_each_place(fixture.wire(), async |cut| {
            append(&fixture, &["a", "b"].map(|key| keyed(key, 1).remove(0)));
            let claim = claim(&wired, 2).await;
            check_eq!(claim.events.len(), 2);
            let mut settlements = outcomes(&claim);
            if is_late {
                settle(&wired, &claim, &Outcome::Kept).await;
                settlements[1].outcome = retry(LEASE.as_secs());
            } else {
                settlements[1].outcome = Outcome::Kept;
            }
            let result = cut.during(wired.settle(claim.token, &settlements)).await;
            let was_applied = amounts(&store).await.0 == 1;
            let again = wired.settle(claim.token, &settlements).await;
            check_eq!(again.is_err(), was_applied, "a second settlement fails");
            check!(
                result.is_err() || was_applied,
                "expected an applied settlement after its success, came none"
            );
            check_eq!(publish_all(&store).await, [], "events during the lease");
            fixture.elapse(2 * LEASE).await;
            check_eq!(publish_all(&store).await, [settlements[1].id]);
        })
        .await;
    }
}

/// S21, S23: events that are held stay held or become due, and the next resumption makes the others due.
pub async fn a_cut_resumption_loses_nothing<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    let held = Outcome::Held {
        destination: "a".into(),
        delay: Duration::from_secs(3600),
    };
    at_each_place(fixture.wire(), async |cut| {
        append(&fixture, &["a", "b"].map(|key| keyed(key, 1).remove(0)));
        settle(&store, &claim(&store, 2).await, &held).await;
        let result = cut.during(wired.resume("a", 10)).await;
        let mut published = publish_all(&store).await;
        if let Ok(resumed) = result {
            check_eq!((resumed, published.len()), (2, 2), "resumed and published");
        }
        ok(wired.resume("a", 10).await);
        published.extend(publish_all(&store).await);
        if published.len() < 2 {
            fixture.end_abandoned_calls().await;
            ok(wired.resume("a", 10).await);
            published.extend(publish_all(&store).await);
        }
        check_eq!(published.len(), 2, "events after a resumption");
        check_eq!(ok(wired.resume("a", 10).await), 0);
    })
    .await;
}

/// S8: all of a quarantine is moved or nothing, and it may be asked for again.
pub async fn a_cut_quarantine_moves_all_or_nothing<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    let now = SystemTime::now();
    at_each_place(fixture.wire(), async |cut| {
        append(&fixture, &keyed("k", 3));
        let claim = claim(&store, 3).await;
        settle(&store, &claim, &retry(1)).await;
        let entries: Vec<DlqEntry> = ids(&claim.events)[..2]
            .iter()
            .map(|id| DlqEntry::new(*id, 5, now, now))
            .collect();
        let result = cut.during(wired.quarantine_events(&entries)).await;
        let moved = match amounts(&store).await {
            (1, 2) => true,
            (3, 0) => false,
            amounts => refuse!("expected (1, 2) or (3, 0), came {amounts:?}"),
        };
        if let Ok(outcomes) = result {
            check_eq!(
                (moved, outcomes),
                (true, vec![QuarantineOutcome::Moved; 2]),
                "two dead letters, and the answer"
            );
        } else {
            let again = ok(wired.quarantine_events(&entries).await);
            let expected = if moved {
                QuarantineOutcome::Missing
            } else {
                QuarantineOutcome::Moved
            };
            check_eq!(again, [expected; 2]);
        }
        check_eq!(amounts(&store).await, (1, 2));
        empty(&fixture, &store).await;
    })
    .await;
}

/// D2, D4: dead letters are replayed or purged whole or not at all.
pub async fn a_cut_replay_or_purge_loses_no_dead_letter<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    let all = DeadLetterFilter::all();
    for waiting_after in [3, 1] {
        at_each_place(fixture.wire(), async |cut| {
            let dead_letters = two_dead_letters(&fixture, &store).await;
            let result = cut
                .during(async {
                    match waiting_after {
                        3 => wired.replay(&all, 10).await,
                        _ => wired.purge(&all, 10).await,
                    }
                })
                .await;
            let amounts = amounts(&store).await;
            if let Ok(ids) = result {
                check_eq!((ids, amounts), (dead_letters, (waiting_after, 0)));
            } else {
                check!(
                    [(1, 2), (waiting_after, 0)].contains(&amounts),
                    "expected both dead letters or none, came {amounts:?}"
                );
            }
            ok(wired.list(&all, None, 10).await);
            empty(&fixture, &store).await;
        })
        .await;
    }
}

/// S21: A look that is cut changes nothing, and the next one works.
pub async fn a_cut_look_changes_nothing<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    let dead_letters = two_dead_letters(&fixture, &store).await;
    for look in 0..4 {
        at_each_place(fixture.wire(), async |cut| {
            let result = cut.during(looked(&wired, dead_letters[0], look)).await;
            check!(
                matches!(result, Err(_) | Ok(true)),
                "expected an error or what is there from look {look}, came something else"
            );
            check!(
                ok(looked(&wired, dead_letters[0], look).await),
                "expected what is there from look {look}, came something else"
            );
        })
        .await;
    }
    // A store may have no need of the wire for these.
    let idle = async || {
        wired.clean_up(10).await?;
        wired.wait_for_work(Duration::from_secs(3600)).await?;
        wired.backlog().await
    };
    at_each_place(fixture.wire(), async |cut| {
        let _ = cut.during(idle()).await;
        ok(idle().await);
    })
    .await;
    check_eq!(amounts(&store).await, (1, 2));
}

/// Whether a look finds what [`two_dead_letters`] left.
async fn looked(store: &Arc<dyn Store>, id: EventId, look: usize) -> Result<bool, OutboxError> {
    let all = DeadLetterFilter::all();
    Ok(match look {
        0 => store.list(&all, None, 10).await?.len() == 2,
        1 => store.find(id).await?.is_some(),
        2 => store.statistics(&all, 10).await?.len() == 1,
        _ => store.backlog().await?.dead_letters == 2,
    })
}

/// S21: a connection that is cut while it is idle, and again at each place of the next connection.
pub async fn a_cut_connection_is_replaced<F: WireFixture>(fixture: F) {
    let (store, wired) = (fixture.handle().await, fixture.wired().await);
    at_each_place(fixture.wire(), async |cut| {
        let events = keyed("k", 2);
        append(&fixture, &events);
        fixture.wire().cut_all();
        let claimed = cut.during(async {
            let _ = wired.backlog().await;
            Ok(wired.claim(ClaimLimit::events(1), LEASE).await.ok())
        });
        let claimed = ok(claimed.await);
        let count = claimed.map_or(1, |claim| claim.events.len());
        check_eq!(count, 1, "events of a claim over a new connection");
        check_come_back(&fixture, &wired, &events).await;
    })
    .await;
    empty(&fixture, &store).await;
    append(&fixture, &[Event::new("after", "")]);
    check_eq!(publish_all(&wired).await.len(), 1);
}
