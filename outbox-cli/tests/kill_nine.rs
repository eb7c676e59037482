//! `kill -9` of the relay, over and over, while a producer appends.

use outbox_core::{Event, EventId};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteOutbox, append};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const KILLS: usize = 50;
const KEYS: usize = 13;

fn relay(folder: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_outbox"))
        .current_dir(folder)
        .args([
            "relay",
            "--store",
            "sqlite:shop.db",
            "--to",
            "file:events.ndjson",
        ])
        .args([
            "--lease",
            "400ms",
            "--publish-timeout",
            "200ms",
            "--batch-size",
            "20",
        ])
        .args(more)
        .spawn()
        .expect("the relay starts")
}

/// Appends numbered events, a few a transaction, until told to stop; some are rolled back.
fn produce(path: &Path, stop: &AtomicBool) -> HashSet<EventId> {
    let mut connection = Connection::open(path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(10))
        .expect("set");
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
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("begun");
        append(&tx, &events).expect("appended");
        if turn % 10 == 9 {
            tx.rollback().expect("rolled back");
        } else {
            tx.commit().expect("committed");
            numbers[key] += 3;
            committed.extend(events.iter().map(|event| event.id));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    committed
}

/// Asserts the order per key of first arrivals, and gives back what arrived and how often.
fn read(path: &Path) -> HashMap<EventId, usize> {
    let mut arrivals: HashMap<EventId, usize> = HashMap::new();
    let mut latest: HashMap<String, u64> = HashMap::new();
    for line in std::fs::read_to_string(path).expect("the file").lines() {
        let value: Value = serde_json::from_str(line).expect("a whole line");
        let id = value["id"].as_str().expect("an id").parse().expect("an id");
        let count = arrivals.entry(id).or_default();
        *count += 1;
        if *count == 1 {
            let key = value["key"].as_str().expect("a key").to_owned();
            let number = value["payload"].as_u64().expect("a number");
            let before = latest.insert(key.clone(), number).unwrap_or(0);
            assert_eq!(number, before + 1, "{key} is out of order");
        }
    }
    arrivals
}

#[test]
fn a_relay_that_is_killed_fifty_times_loses_nothing_and_keeps_the_order() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("shop.db");
    let migrate = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .current_dir(folder.path())
        .args(["migrate", "--store", "sqlite:shop.db"])
        .status()
        .expect("migrated");
    assert!(migrate.success());

    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        std::thread::spawn(move || produce(&path, &stop))
    };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..KILLS {
        let mut child = relay(folder.path(), &[]);
        // The moment of the kill is arbitrary; nothing that is asserted depends on it.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 250));
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    stop.store(true, Ordering::SeqCst);
    let committed = producer.join().expect("the producer");
    assert!(
        relay(folder.path(), &["--drain"])
            .wait()
            .expect("drained")
            .success()
    );

    let arrivals = read(&folder.path().join("events.ndjson"));
    let arrived: HashSet<EventId> = arrivals.keys().copied().collect();
    assert_eq!(arrived, committed);
    let duplicates: usize = arrivals.values().map(|count| count - 1).sum();
    println!(
        "{} events, {KILLS} kills, {duplicates} duplicates",
        committed.len()
    );
    // One kill repeats at most the claim that it interrupted.
    assert!(duplicates <= KILLS * 20, "{duplicates} duplicates");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        use outbox_core::OutboxStorage;
        let store = SqliteOutbox::open(&path).await.expect("opened");
        let backlog = store.backlog().await.expect("a backlog");
        assert_eq!(
            (backlog.pending, backlog.dead_letters),
            (0, 0),
            "a false dead letter"
        );
    });
}
