//! Writers like those of an application, and a broker that records the events.

use super::Own;
use async_trait::async_trait;
use outbox_core::{Event, OutboxConfig, OutboxProcessor, PublishError, Transport};
use outbox_store_postgres::sqlx::{self, Executor, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const WRITERS: u64 = 8;
const KEYS: u64 = 12;

/// Events of a claim: few, so that there are many claims.
pub(crate) const BATCH: usize = 7;

/// The numbers of each key, in some order.
pub(crate) type Numbers = BTreeMap<String, Vec<u64>>;

/// Records the published events, by key.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Numbers>);

impl Recorder {
    pub(crate) fn published(&self) -> Numbers {
        self.0.lock().expect("a lock").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().expect("a lock").values().map(Vec::len).sum()
    }

    /// Asserts that exactly the `expected` events came, in the order of each key, without repetitions.
    /// Returns how many came again.
    pub(crate) fn repeats(&self, expected: &Numbers) -> usize {
        let mut repeats = 0;
        let mut first = self.published();
        for numbers in first.values_mut() {
            let all = numbers.len();
            let mut seen = BTreeSet::new();
            numbers.retain(|number| seen.insert(*number));
            repeats += all - numbers.len();
        }
        assert_same(&first, expected);
        repeats
    }
}

/// Asserts that the keys have the same numbers, and shows the numbers of a key that differs.
pub(crate) fn assert_same(published: &Numbers, expected: &Numbers) {
    let keys: BTreeSet<_> = published.keys().chain(expected.keys()).collect();
    for key in keys {
        assert_eq!(published.get(key), expected.get(key), "{key}");
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        for event in events {
            let number = std::str::from_utf8(&event.payload).expect("text").parse();
            let key = event.ordering_key.clone().unwrap_or_default();
            let mut published = self.0.lock().expect("a lock");
            let numbers = published.entry(key).or_default();
            numbers.push(number.expect("a number"));
        }
        // Here a worker can be lost that has published, but not settled.
        tokio::task::yield_now().await;
        events.iter().map(|_| Ok(())).collect()
    }
}

/// Workers, each with a separate handle.
pub(crate) struct Workers(Vec<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Workers {
    pub(crate) async fn start(own: &Own, recorder: &Arc<Recorder>, count: usize) -> Self {
        let millis = Duration::from_millis;
        let config = OutboxConfig::builder()
            .batch_size(BATCH)
            .publish_timeout(millis(200))
            .lease(millis(500))
            .retry_initial(millis(10))
            .retry_max(millis(50))
            .breaker_initial(millis(20))
            .breaker_max(millis(100))
            .store_retry_max(millis(100))
            .build()
            .expect("a config");
        let mut workers = Vec::new();
        for _ in 0..count {
            let store = Arc::new(own.open().await);
            let (stop, stopped) = oneshot::channel::<()>();
            let processor = OutboxProcessor::new(store, recorder.clone()).config(config.clone());
            let worker = tokio::spawn(async {
                let stopped = async {
                    let _ = stopped.await;
                };
                processor.run(stopped).await.expect("well");
            });
            workers.push((stop, worker));
        }
        Self(workers)
    }

    pub(crate) async fn stop(self) {
        for (stop, worker) in self.0 {
            stop.send(()).expect("a worker");
            worker.await.expect("ended");
        }
    }
}

/// Inserts a row for each key.
pub(crate) async fn prepare(own: &Own) {
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

/// Starts writers that write `rounds` transactions each, and continue after a lost connection.
pub(crate) fn start_writers(own: &Arc<Own>, rounds: u64) -> Vec<JoinHandle<()>> {
    start_writers_until(own, &Arc::new(AtomicU64::new(rounds)))
}

/// As [`start_writers`], but the number of rounds may be made smaller while they write.
pub(crate) fn start_writers_until(own: &Arc<Own>, rounds: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    let writer = |writer| {
        let (own, rounds) = (Arc::clone(own), Arc::clone(rounds));
        tokio::spawn(async move {
            let (mut seed, mut done) = (writer + 1, 0);
            while done < rounds.load(Relaxed) {
                if let Ok(mut connection) = own.try_connect().await {
                    let _ = write(&own, &mut connection, &mut seed, &mut done, &rounds).await;
                }
            }
        })
    };
    (0..WRITERS).map(writer).collect()
}

/// Each transaction appends the next number of two keys, under locks of the rows of the keys, as an
/// application locks its aggregate. One transaction in ten rolls back.
async fn write(
    own: &Own,
    connection: &mut PgConnection,
    seed: &mut u64,
    done: &mut u64,
    rounds: &AtomicU64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    while *done < rounds.load(Relaxed) {
        connection.execute("BEGIN").await?;
        let first = random(seed) % KEYS;
        for key in [first, first + KEYS] {
            let row = sqlx::query("UPDATE counters SET n = n + 1 WHERE key = $1 RETURNING n")
                .bind(key.cast_signed())
                .fetch_one(&mut *connection)
                .await?;
            let number: i64 = row.get(0);
            let event = Event::new("load", number.to_string()).ordering_key(format!("key {key}"));
            own.appender().append(connection, &[event]).await?;
            tokio::time::sleep(Duration::from_millis(random(seed) % 4)).await;
        }
        let end = if random(seed).is_multiple_of(10) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        *done += 1;
        connection.execute(end).await?;
    }
    Ok(())
}

/// All numbers of each key that were committed.
pub(crate) async fn committed(own: &Own) -> Numbers {
    let mut connection = own.connect().await;
    let rows = sqlx::query("SELECT 'key ' || key, n FROM counters WHERE n > 0")
        .fetch_all(&mut connection)
        .await
        .expect("read");
    rows.iter()
        .map(|row| {
            (
                row.get(0),
                (1..=row.get::<i64, _>(1).cast_unsigned()).collect(),
            )
        })
        .collect()
}

/// A small random generator. The writers differ from each other, but not between runs.
pub(crate) fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}
