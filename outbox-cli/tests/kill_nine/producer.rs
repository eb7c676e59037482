//! A producer that appends all the time, on each store.

use outbox_core::{Event, EventId};
use outbox_store_postgres::sqlx::{Connection as _, Executor, PgConnection};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KEYS: usize = 13;

/// Appends events in a transaction and commits it, or rolls it back.
pub(crate) type Append = Box<dyn FnMut(&[Event], bool) + Send>;

/// Appends numbered events, a few a transaction, until told to stop; some are rolled back.
pub(crate) fn produce(mut append: Append, stop: &AtomicBool) -> HashSet<EventId> {
    let mut numbers = [0_u64; KEYS];
    let mut committed = HashSet::new();
    for turn in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let key = turn % KEYS;
        let event = |number| {
            Event::new("test.numbered", format!("{number}"))
                .content_type("application/json")
                .ordering_key(format!("key-{key}"))
        };
        let events: Vec<Event> = (1..=3).map(|step| event(numbers[key] + step)).collect();
        let commit = turn % 10 != 9;
        append(&events, commit);
        if commit {
            numbers[key] += 3;
            committed.extend(events.iter().map(|event| event.id));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    committed
}

/// Appends to the store in the file.
pub(crate) fn to_sqlite(path: &Path) -> Append {
    let mut connection = Connection::open(path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(10))
        .expect("set");
    Box::new(move |events: &[Event], commit: bool| {
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("begun");
        outbox_store_sqlite::append(&tx, events).expect("appended");
        if commit {
            tx.commit().expect("committed");
        } else {
            tx.rollback().expect("rolled back");
        }
    })
}

/// Appends to the store in the database.
pub(crate) fn to_postgres(url: &str) -> Append {
    let runtime = runtime();
    let connected = runtime.block_on(PgConnection::connect(url));
    let mut connection = connected.expect("connected");
    Box::new(move |events: &[Event], commit: bool| {
        runtime.block_on(async {
            connection.execute("BEGIN").await.expect("begun");
            let appended = outbox_store_postgres::append(&mut connection, events).await;
            appended.expect("appended");
            let end = if commit { "COMMIT" } else { "ROLLBACK" };
            connection.execute(end).await.expect("ended");
        });
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}
