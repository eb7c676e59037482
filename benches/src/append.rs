//! Events in the caller's transaction, against a bare INSERT of the same bytes.

use crate::server::Postgres;
use crate::{Failure, median, ours};
use outbox_core::Event;
use outbox_driver_postgres::{PgTime, PgUuid};
use outbox_store_postgres::sqlx::{self, Executor, PgConnection};
use outbox_store_postgres::{DriverOptions, PostgresOutbox, Schema, append};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Barrier;

/// Transactions of each kind are interleaved, so that both meet the same machine.
const ROUNDS: usize = 21;

/// A table as an application would make it for the same columns.
const BARE: &str = "
    CREATE TABLE bare (
        id uuid PRIMARY KEY, event_type text NOT NULL, payload bytea NOT NULL,
        content_type text NOT NULL, headers json NOT NULL, ordering_key text,
        idempotency_token text, created_at timestamptz NOT NULL, available_at timestamptz
    )";

/// Its INSERT, of the same bytes.
const INSERT: &str = "
    INSERT INTO bare
    SELECT id, event_type, payload, content_type, headers::json, key, token, created_at, available_at
    FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[],
                $7::text[], $8::timestamptz[], $9::timestamptz[])
         AS e (id, event_type, payload, content_type, headers, key, token, created_at,
               available_at)";

pub(crate) async fn run() -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    PostgresOutbox::migrate(postgres.pool.clone(), DriverOptions::default()).await?;
    postgres.pool.execute(BARE).await?;
    // As an application's server is set: a commit waits for the disk.
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let set = format!("ALTER SYSTEM SET {setting} = on");
        postgres.pool.execute(sqlx::AssertSqlSafe(set)).await?;
    }
    postgres.pool.execute("SELECT pg_reload_conf()").await?;
    for size in [1, 10, 1000] {
        let transactions = 2000 / size.min(100);
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(time(&postgres, size, transactions, false).await?);
            ours.push(time(&postgres, size, transactions, true).await?);
        }
        let ratio = median(
            ours.iter()
                .zip(&bare)
                .map(|(ours, bare)| ours / bare)
                .collect(),
        );
        println!(
            "{size} a transaction: {:.1} us an event, bare {:.1} us, ratio {ratio:.2}",
            median(ours),
            median(bare)
        );
    }
    notify(&postgres).await
}

/// Microseconds for an event.
async fn time(
    postgres: &Postgres,
    size: usize,
    transactions: usize,
    outbox: bool,
) -> Result<f64, Failure> {
    let mut connection = postgres.pool.acquire().await?;
    let batches: Vec<Vec<Event>> = (0..transactions)
        .map(|_| (0..size).map(ours::event).collect())
        .collect();
    let start = Instant::now();
    for events in &batches {
        connection.execute("BEGIN").await?;
        if outbox {
            append(&mut connection, &Schema::default(), events).await?;
        } else {
            insert(&mut connection, events).await?;
        }
        connection.execute("COMMIT").await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (size * transactions) as f64)
}

async fn insert(connection: &mut PgConnection, events: &[Event]) -> Result<(), Failure> {
    fn each<'e, T>(events: &'e [Event], column: impl Fn(&'e Event) -> T) -> Vec<T> {
        events.iter().map(column).collect()
    }
    let query = sqlx::query(INSERT)
        .bind(each(events, |event| PgUuid(*event.id.as_uuid())))
        .bind(each(events, |event| event.event_type.as_str()))
        .bind(each(events, |event| &event.payload[..]))
        .bind(each(events, |event| event.content_type.as_str()))
        .bind(each(events, |_| "{}"))
        .bind(each(events, |event| event.ordering_key.as_deref()))
        .bind(each(events, |event| event.idempotency_token.as_deref()))
        .bind(each(events, |event| PgTime(event.created_at)))
        .bind(each(events, |event| event.available_at.map(PgTime)));
    query.execute(connection).await?;
    Ok(())
}

/// Eight producers at once, with the wake-up's trigger and without it.
async fn notify(postgres: &Postgres) -> Result<(), Failure> {
    const PRODUCERS: usize = 8;
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let mut times = Vec::new();
        // By turns the one or the other is first.
        let mut states = ["ENABLE", "DISABLE"];
        states.rotate_left(round % 2);
        for state in states {
            let toggle =
                format!("ALTER TABLE outbox.outbox_events {state} TRIGGER outbox_events_wake");
            postgres.pool.execute(sqlx::AssertSqlSafe(toggle)).await?;
            let barrier = Arc::new(Barrier::new(PRODUCERS));
            let start = Instant::now();
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|_| tokio::spawn(produce(postgres.pool.clone(), Arc::clone(&barrier))))
                .collect();
            for producer in producers {
                producer.await?.map_err(|error| error.to_string())?;
            }
            times.push(start.elapsed().as_secs_f64());
        }
        times.rotate_left(round % 2);
        ratios.push(times[0] / times[1]);
    }
    println!(
        "{PRODUCERS} producers at once, nobody asleep: with the wake-up {:.3} of the time without",
        median(ratios)
    );
    Ok(())
}

async fn produce(pool: sqlx::PgPool, barrier: Arc<Barrier>) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let events: Vec<Event> = (0..500).map(ours::event).collect();
    barrier.wait().await;
    for event in events {
        append(&mut connection, &Schema::default(), &[event])
            .await
            .map_err(|error| sqlx::Error::Protocol(error.report()))?;
    }
    Ok(())
}
