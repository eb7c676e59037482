//! Events in the caller's transaction, against a bare INSERT of the same bytes.

use crate::server::Postgres;
use crate::{Failure, load, median};
use outbox_core::Event;
use outbox_driver_postgres::{PgTime, PgUuid};
use outbox_store_postgres::sqlx::{self, Executor, PgConnection};
use outbox_store_postgres::{PostgresStore, append};
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

/// The same rows, with arrays that are read by index, as this project's append does.
const SIDE_BY_SIDE: &str = "
    INSERT INTO bare
    SELECT id, event_type, payload, content_type, headers::json, key, token, created_at, available_at
    FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS event_type,
                 unnest($3::bytea[]) AS payload, unnest($4::text[]) AS content_type,
                 unnest($5::text[]) AS headers, unnest($6::text[]) AS key,
                 unnest($7::text[]) AS token, unnest($8::timestamptz[]) AS created_at,
                 unnest($9::timestamptz[]) AS available_at) AS e";

#[derive(Clone, Copy)]
enum Way {
    Outbox,
    /// This statement into the table of the application.
    Bare(&'static str),
}

pub(crate) async fn run() -> Result<(), Failure> {
    let postgres = Postgres::start().await?;
    PostgresStore::migrate(postgres.pool.clone()).await?;
    postgres.pool.execute(BARE).await?;
    let orders = "CREATE TABLE orders (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, amount integer NOT NULL)";
    postgres.pool.execute(orders).await?;
    // The setting of a production server: a commit waits for the disk.
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let set = format!("ALTER SYSTEM SET {setting} = on");
        postgres.pool.execute(sqlx::AssertSqlSafe(set)).await?;
    }
    postgres.pool.execute("SELECT pg_reload_conf()").await?;
    for size in [1, 10, 1000] {
        let ways = [Way::Outbox, Way::Bare(INSERT), Way::Bare(SIDE_BY_SIDE)];
        let mut times = ways.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (way, times) in ways.iter().zip(&mut times) {
                times.push(time(&postgres, size, *way).await?);
            }
        }
        let [ours, bare, side_by_side] = times;
        let ratio = |to: &[f64]| median(ours.iter().zip(to).map(|(ours, to)| ours / to).collect());
        println!(
            "{size} a transaction: {:.1} us an event, {:.2} times a bare INSERT, {:.2} times one \
             with arrays side by side",
            median(ours.clone()),
            ratio(&bare),
            ratio(&side_by_side)
        );
    }
    wake_up(&postgres, true).await?;
    wake_up(&postgres, false).await
}

/// Microseconds for an event.
async fn time(postgres: &Postgres, size: usize, way: Way) -> Result<f64, Failure> {
    let transactions = 2000 / size.min(100);
    let mut connection = postgres.pool.acquire().await?;
    let batches: Vec<Vec<Event>> = (0..transactions)
        .map(|_| (0..size).map(load::event).collect())
        .collect();
    let start = Instant::now();
    for events in &batches {
        connection.execute("BEGIN").await?;
        match way {
            Way::Outbox => append(&mut connection, events).await?,
            Way::Bare(statement) => insert(&mut connection, statement, events).await?,
        }
        connection.execute("COMMIT").await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (size * transactions) as f64)
}

async fn insert(
    connection: &mut PgConnection,
    statement: &'static str,
    events: &[Event],
) -> Result<(), Failure> {
    fn each<'e, T>(events: &'e [Event], column: impl Fn(&'e Event) -> T) -> Vec<T> {
        events.iter().map(column).collect()
    }
    let query = sqlx::query(statement)
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

/// Eight producers at once, with the wake-up's trigger and without it: each event in a transaction
/// with a row of the application, or alone in a statement that commits itself.
async fn wake_up(postgres: &Postgres, with_row: bool) -> Result<(), Failure> {
    const PRODUCERS: usize = 8;
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let mut times = Vec::new();
        // The two take turns at being first.
        let mut states = ["ENABLE", "DISABLE"];
        states.rotate_left(round % 2);
        for state in states {
            let toggle =
                format!("ALTER TABLE outbox.outbox_events {state} TRIGGER outbox_events_wake");
            postgres.pool.execute(sqlx::AssertSqlSafe(toggle)).await?;
            let barrier = Arc::new(Barrier::new(PRODUCERS));
            let start = Instant::now();
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|_| {
                    tokio::spawn(produce(
                        postgres.pool.clone(),
                        Arc::clone(&barrier),
                        with_row,
                    ))
                })
                .collect();
            for producer in producers {
                producer.await??;
            }
            times.push(start.elapsed().as_secs_f64());
        }
        times.rotate_left(round % 2);
        ratios.push(times[0] / times[1]);
    }
    println!(
        "{PRODUCERS} producers at once, {}, no worker waiting: with the wake-up trigger {:.3} of the time without it",
        if with_row {
            "an order and its event in a transaction"
        } else {
            "each event alone"
        },
        median(ratios)
    );
    Ok(())
}

async fn produce(pool: sqlx::PgPool, barrier: Arc<Barrier>, with_row: bool) -> Result<(), Failure> {
    let mut connection = pool.acquire().await?;
    let events: Vec<Event> = (0..500).map(load::event).collect();
    barrier.wait().await;
    for event in events {
        if !with_row {
            append(&mut connection, &[event]).await?;
            continue;
        }
        connection.execute("BEGIN").await?;
        sqlx::query("INSERT INTO orders (amount) VALUES ($1)")
            .bind(250)
            .execute(&mut *connection)
            .await?;
        append(&mut connection, &[event]).await?;
        connection.execute("COMMIT").await?;
    }
    Ok(())
}
