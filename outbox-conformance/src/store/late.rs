//! Transactions that are open at once, for stores on which two can be. A number that a store gives
//! at the append says nothing of when its transaction commits, or whether it ever does.

use super::{
    AppTransaction, LEASE, StoreFixture, append, claim, event_ids, ids, keyed, publish_all, retry,
    settle, sorted,
};
use crate::check::{check_eq, ok};
use outbox_core::Event;
use std::time::Duration;

/// More than the parts in which a store may read its events.
const KEYS: usize = 20;

/// An event of each of several keys, and as many without a key.
fn of_all_keys() -> Vec<Event> {
    let keys = (0..KEYS).flat_map(|n| keyed(&format!("key {n}"), 1));
    let without = (0..KEYS).map(|_| Event::new("conformance", "x"));
    keys.chain(without).collect()
}

fn begun<F: StoreFixture>(fixture: &F, events: &[Event]) -> Box<dyn AppTransaction> {
    let mut transaction = fixture.begin();
    ok(transaction.append(events));
    transaction
}

/// S1: events of a transaction that appended first and commits last are claimed, by the handle that
/// published other events meanwhile and by another. Until then they delay no claim.
pub async fn a_late_commit_is_claimed<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    let late = [of_all_keys(), of_all_keys()];
    let open = late.each_ref().map(|events| begun(&fixture, events));
    for store in stores.iter().chain(&stores) {
        let between = of_all_keys();
        append(&fixture, &between);
        let published = sorted(publish_all(store).await);
        check_eq!(published, sorted(event_ids(&between)));
    }
    let waiting = keyed("waiting", 1);
    append(&fixture, &waiting);
    settle(&stores[0], &claim(&stores[0], 1).await, &retry(60)).await;
    for ((transaction, events), store) in open.into_iter().zip(&late).zip(&stores) {
        ok(transaction.commit());
        let published = sorted(publish_all(store).await);
        check_eq!(
            published,
            sorted(event_ids(events)),
            "events of a late commit"
        );
    }
    fixture.elapse(Duration::from_secs(60)).await;
    check_eq!(publish_all(&stores[1]).await, event_ids(&waiting));
}

/// S1: a transaction that rolls back, when others that began later are claimed and settled, leaves
/// nothing behind and delays no later event.
pub async fn a_late_rollback_delays_nothing<F: StoreFixture>(fixture: F) {
    let stores = [fixture.handle().await, fixture.handle().await];
    let dropped = begun(&fixture, &of_all_keys());
    let before = of_all_keys();
    append(&fixture, &before);
    let published = sorted(publish_all(&stores[0]).await);
    check_eq!(published, sorted(event_ids(&before)));
    drop(dropped);
    for store in stores.iter().chain(&stores) {
        let after = of_all_keys();
        append(&fixture, &after);
        let published = sorted(publish_all(store).await);
        check_eq!(published, sorted(event_ids(&after)));
        fixture.elapse(LEASE).await;
    }
    check_eq!(ok(stores[0].backlog().await).pending, 0);
}

/// S2, S5: of one key, what commits late comes after what was claimed before, and waits for it in a
/// claim and for its retry.
pub async fn a_late_commit_comes_after_what_was_claimed<F: StoreFixture>(fixture: F) {
    let (one, two) = (fixture.handle().await, fixture.handle().await);
    let (late, early) = (keyed("k", 1), keyed("k", 1));
    let open = begun(&fixture, &late);
    append(&fixture, &early);
    let first = claim(&one, 10).await;
    check_eq!(ids(&first.events), event_ids(&early));
    ok(open.commit());
    check_eq!(
        ids(&claim(&two, 10).await.events),
        [],
        "later events during a claim"
    );
    settle(&one, &first, &retry(60)).await;
    check_eq!(
        ids(&claim(&two, 10).await.events),
        [],
        "later events before a retry"
    );
    fixture.elapse(Duration::from_secs(60)).await;
    let both = event_ids(&[early, late].concat());
    check_eq!(publish_all(&two).await, both);
}

/// S2: a writer that waits for another one of the key before it appends comes after it, also if its
/// transaction began first and has appended events of other keys.
pub async fn writers_that_take_turns_keep_their_order<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    for claimed_between in [false, true] {
        let (events, others) = (keyed("k", 3), keyed("other", 3));
        let writers = [&others[..1], &others[1..2], &others[2..]];
        let writers = writers.map(|other| begun(&fixture, other));
        for (mut writer, event) in writers.into_iter().zip(&events).rev() {
            ok(writer.append(std::slice::from_ref(event)));
            ok(writer.commit());
            if claimed_between {
                settle(&store, &claim(&store, 10).await, &retry(0)).await;
            }
        }
        let mut published = publish_all(&store).await;
        published.retain(|id| events.iter().any(|event| event.id == *id));
        let mut expected = event_ids(&events);
        expected.reverse();
        check_eq!(published, expected, "events in the order of the commits");
    }
}
