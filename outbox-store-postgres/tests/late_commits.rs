//! S1, S2 with real transactions: commits that come late, rollbacks, and one that never ends.

mod support;

use async_trait::async_trait;
use outbox_core::{Event, OutboxConfig, OutboxProcessor, PublishError, Transport};
use outbox_store_postgres::append;
use outbox_store_postgres::sqlx::{self, Executor, PgConnection, Row};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Own;
use tokio::sync::oneshot;

const WRITERS: u64 = 8;
const ROUNDS: u64 = 60;
const KEYS: u64 = 12;

/// Keeps what was published, by key.
#[derive(Debug, Default)]
struct Recorder(Mutex<HashMap<String, Vec<u64>>>);

#[async_trait]
impl Transport for Recorder {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let mut published = self.0.lock().expect("a lock");
        for event in events {
            let number = std::str::from_utf8(&event.payload).expect("text").parse();
            let key = event.ordering_key.clone().unwrap_or_default();
            published
                .entry(key)
                .or_default()
                .push(number.expect("a number"));
        }
        events.iter().map(|_| Ok(())).collect()
    }
}

/// A small generator: what the writers do differs between them and not between runs.
fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// A number of each key per transaction, taken under a lock of the key's row as an application
/// locks its aggregate; one in ten rolls back.
async fn write(own: &Own, writer: u64) {
    let mut connection = own.connect().await;
    let mut seed = writer + 1;
    for _ in 0..ROUNDS {
        connection.execute("BEGIN").await.expect("begun");
        let first = random(&mut seed) % KEYS;
        for key in [first, first + KEYS] {
            let row = sqlx::query("UPDATE counters SET n = n + 1 WHERE key = $1 RETURNING n")
                .bind(key.cast_signed())
                .fetch_one(&mut connection)
                .await
                .expect("locked");
            let number: i64 = row.get(0);
            let event = Event::new("late", number.to_string()).ordering_key(format!("key {key}"));
            append(&mut connection, own.schema(), &[event])
                .await
                .expect("appended");
            tokio::time::sleep(Duration::from_millis(random(&mut seed) % 4)).await;
        }
        let end = if random(&mut seed).is_multiple_of(10) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        connection.execute(end).await.expect("ended");
    }
}

async fn prepare(own: &Own) {
    let mut connection = own.connect().await;
    connection
        .execute("CREATE TABLE counters (key bigint PRIMARY KEY, n bigint NOT NULL)")
        .await
        .expect("made");
    sqlx::query("INSERT INTO counters SELECT key, 0 FROM generate_series(0, $1) AS key")
        .bind((2 * KEYS).cast_signed())
        .execute(&mut connection)
        .await
        .expect("filled");
}

/// The last number of each key that was committed.
async fn counters(own: &Own) -> HashMap<String, u64> {
    let mut connection = own.connect().await;
    let rows = sqlx::query("SELECT 'key ' || key, n FROM counters WHERE n > 0")
        .fetch_all(&mut connection)
        .await
        .expect("read");
    rows.iter()
        .map(|row| (row.get(0), row.get::<i64, _>(1).cast_unsigned()))
        .collect()
}

/// A transaction that has written an event and stays open.
async fn never_ending(own: &Own) -> PgConnection {
    let mut connection = own.connect().await;
    connection.execute("BEGIN").await.expect("begun");
    let event = Event::new("late", "0").ordering_key("never");
    append(&mut connection, own.schema(), &[event])
        .await
        .expect("appended");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn late_commits_are_neither_missed_nor_repeated_and_keep_their_order() {
    let own = Arc::new(Own::in_schema("outbox"));
    prepare(&own).await;
    let open = never_ending(&own).await;
    let recorder = Arc::new(Recorder::default());
    let config = OutboxConfig::builder()
        .batch_size(7)
        .build()
        .expect("a config");
    let mut relays = Vec::new();
    for _ in 0..3 {
        let (stop, stopped) = oneshot::channel::<()>();
        let store = Arc::new(own.open().await);
        let processor = OutboxProcessor::new(store, recorder.clone()).config(config.clone());
        let relay = tokio::spawn(processor.run(async {
            let _ = stopped.await;
        }));
        relays.push((stop, relay));
    }
    let writers = (0..WRITERS).map(|writer| {
        let own = Arc::clone(&own);
        tokio::spawn(async move { write(&own, writer).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("written");
    }
    own.drained().await;
    for (stop, relay) in relays {
        stop.send(()).expect("a relay");
        relay.await.expect("ended").expect("well");
    }
    let expected: HashMap<String, Vec<u64>> = counters(&own)
        .await
        .into_iter()
        .map(|(key, last)| (key, (1..=last).collect()))
        .collect();
    let published = std::mem::take(&mut *recorder.0.lock().expect("a lock"));
    assert!(expected.values().map(Vec::len).sum::<usize>() > 500);
    assert_eq!(published, expected);
    drop(open);
}
