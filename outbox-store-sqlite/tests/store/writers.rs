//! Many producers and two workers at once.

use crate::{LEASE, Place, all, keyed};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Eight producers with one connection each roll back a third; two workers drain at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_many_writers_are_claimed_once_in_the_order_of_each_key() {
    const WRITERS: usize = 8;
    let place = Place::new().await;
    place.execute("CREATE TABLE counter (key TEXT PRIMARY KEY, n INTEGER)");
    let barrier = Arc::new(Barrier::new(WRITERS));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (barrier, mut connection) = (Arc::clone(&barrier), place.connect());
            std::thread::spawn(move || {
                barrier.wait();
                (0..ROUNDS).for_each(|round| write(&mut connection, writer + round));
            })
        })
        .collect();
    let kept = (0..WRITERS)
        .flat_map(|writer| (0..ROUNDS).map(move |round| writer + round))
        .filter(|turn| turn % 3 != 1)
        .count()
        * 2;
    let seen = drain(&place, kept).await;
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(place.store.backlog().await.unwrap().pending, 0);
    let unique: HashSet<_> = seen.iter().map(|event| event.id).collect();
    assert_eq!((seen.len(), unique.len()), (kept, kept));
    let mut last: HashMap<&str, i64> = HashMap::new();
    for event in &seen {
        if let Some(key) = &event.ordering_key {
            let number: i64 = event.headers["n"].parse().unwrap();
            let before = last.insert(key, number).unwrap_or(0);
            assert_eq!(number, before + 1, "the order of key {key}");
        }
    }
}

const ROUNDS: usize = 60;

/// One transaction: the next number of a key in a header, and an event without a key.
fn write(connection: &mut Connection, turn: usize) {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let key = ["a", "b", "c", "d", "e"][turn % 5];
    let number: i64 = transaction
        .query_row(
            "INSERT INTO counter VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            [key],
            |row| row.get(0),
        )
        .unwrap();
    let event = keyed(key).header("n", number.to_string());
    append(&transaction, &[event, Event::new("lone", "x")]).unwrap();
    if turn % 3 == 1 {
        transaction.rollback().unwrap();
    } else {
        transaction.commit().unwrap();
    }
}

async fn drain(place: &Place, expected: usize) -> Vec<Event> {
    let other = SqliteStore::open(&place.path).await.unwrap();
    let stores = [place.store.clone(), other.with_clock(place.clock.clock())];
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while seen.len() < expected {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {expected}",
            seen.len()
        );
        for (store, limit) in stores.iter().zip([7, 40]) {
            let claim = store.claim(ClaimLimit::events(limit), LEASE).await.unwrap();
            if !claim.events.is_empty() {
                store
                    .settle(claim.token, &all(&claim, &Outcome::Published))
                    .await
                    .unwrap();
            }
            seen.extend(claim.events.into_iter().map(|claimed| claimed.event));
        }
        stores[0]
            .wait_for_work(Duration::from_millis(20))
            .await
            .unwrap();
    }
    seen
}
