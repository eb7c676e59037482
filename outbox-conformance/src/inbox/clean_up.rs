//! What a clean-up forgets, and what it keeps.

use super::{CONSUMER, InboxFixture, accept, deliver, handles, refuse, some_ids};
use crate::check::{check_eq, ok};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// How long events are kept.
const RETENTION: Duration = Duration::from_secs(60);

/// Older than the retention.
const OLD: Duration = Duration::from_secs(3600);

/// More than a case has.
const ALL: usize = 1000;

/// I6: old events are forgotten up to the limit, and accepted again.
pub async fn a_clean_up_forgets_old_events_up_to_its_limit<F: InboxFixture>(fixture: F) {
    let inbox = fixture.handle(CONSUMER).await;
    let ids = some_ids(5);
    accept(&*inbox, &ids).await;
    fixture.elapse(OLD).await;
    for expected in [2, 2, 1, 0] {
        let forgotten = ok(inbox.clean_up(RETENTION, 2).await);
        check_eq!(forgotten, expected, "events forgotten with the limit 2");
    }
    accept(&*inbox, &ids).await;
    fixture.elapse(OLD).await;
    for (limit, expected) in [(0, 0), (usize::MAX, 5)] {
        let forgotten = ok(inbox.clean_up(RETENTION, limit).await);
        check_eq!(
            forgotten,
            expected,
            "events forgotten with the limit {limit}"
        );
    }
}

/// I6: the oldest events are forgotten first.
pub async fn a_clean_up_forgets_the_oldest_events_first<F: InboxFixture>(fixture: F) {
    let inbox = fixture.handle(CONSUMER).await;
    let ids = some_ids(6);
    for id in &ids {
        accept(&*inbox, &[*id]).await;
        fixture.elapse(RETENTION * 2).await;
    }
    check_eq!(ok(inbox.clean_up(RETENTION, 4).await), 4, "old events");
    for (turn, id) in ids.iter().enumerate() {
        let accepted = deliver(&*inbox, *id).await;
        check_eq!(accepted, turn < 4, "whether event {turn} of 6 is forgotten");
    }
}

/// I7: an event within the retention is kept, also next to old ones and with a large limit.
pub async fn a_clean_up_keeps_younger_events<F: InboxFixture>(fixture: F) {
    let inbox = fixture.handle(CONSUMER).await;
    let (old, young) = (some_ids(3), some_ids(3));
    accept(&*inbox, &old).await;
    fixture.elapse(OLD).await;
    accept(&*inbox, &young).await;
    for (retention, expected) in [(OLD * 2, 0), (Duration::MAX, 0), (OLD / 2, 3)] {
        let forgotten = ok(inbox.clean_up(retention, ALL).await);
        check_eq!(forgotten, expected, "events older than {retention:?}");
    }
    for id in young {
        refuse(&*inbox, id, "a young event after a clean-up").await;
    }
}

/// I4, I7: a clean-up forgets the events of its consumer only.
pub async fn a_clean_up_keeps_the_events_of_other_consumers<F: InboxFixture>(fixture: F) {
    let (inbox, other) = (
        fixture.handle(CONSUMER).await,
        fixture.handle("billing2").await,
    );
    let ids = some_ids(3);
    accept(&*inbox, &ids).await;
    accept(&*other, &ids).await;
    fixture.elapse(OLD).await;
    check_eq!(ok(inbox.clean_up(RETENTION, ALL).await), 3, "old events");
    for id in ids {
        refuse(&*other, id, "after the clean-up of another consumer").await;
    }
}

/// I6, I7: the counts of concurrent clean-ups add up, and concurrent deliveries are kept.
pub async fn concurrent_clean_ups_forget_each_event_once<F: InboxFixture>(fixture: F) {
    const CALLERS: usize = 4;
    let inbox = fixture.handle(CONSUMER).await;
    let handles = handles(&fixture, CALLERS).await;
    // The young events of a round are old in the next one.
    let mut young = Vec::new();
    for _ in 0..5 {
        let old = [some_ids(20), young].concat();
        accept(&*inbox, &old[..20]).await;
        fixture.elapse(OLD).await;
        young = some_ids(4);
        let barrier = Arc::new(Barrier::new(CALLERS + 1));
        let mut callers = JoinSet::new();
        for inbox in &handles {
            let (inbox, barrier) = (Arc::clone(inbox), Arc::clone(&barrier));
            callers.spawn(async move {
                barrier.wait().await;
                ok(inbox.clean_up(RETENTION, 15).await)
            });
        }
        barrier.wait().await;
        accept(&*inbox, &young).await;
        let counts = callers.join_all().await;
        // A caller may pass over what another one is about to forget.
        let rest = ok(inbox.clean_up(RETENTION, ALL).await);
        let forgotten = counts.iter().sum::<usize>() + rest;
        check_eq!(forgotten, old.len(), "the sum of {counts:?} and {rest}");
        for id in &young {
            refuse(&*inbox, *id, "a young event after clean-ups").await;
        }
    }
}
