//! What `append` of each data layer costs compared with the layer's own INSERT of the same bytes, in one run
//! on one server.
//!
//! ```console
//! $ cargo run --release    # needs the installed programs of PostgreSQL
//! ```
//!
//! Both sides insert by turns on one connection, a transaction for each call: `append` into the outbox, the
//! layer into a table that is the same. Figures of one run compare; figures of two runs do not.

mod diesel_async_layer;
mod diesel_layer;
mod tokio_postgres_layer;

use outbox_core::Event;
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{Executor, PgPool};
use std::time::Instant;
use test_servers::{Kind, Server, search_path};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sizes of a call, and how many calls a round has.
const CALLS: [(usize, usize); 2] = [(1, 500), (100, 50)];
const ROUNDS: usize = 21;

/// A table with the columns, the constraints, the indexes and the triggers of the outbox, so that only the
/// layers differ. The headers are a text, which each layer can send.
const SAME: &str = "
    CREATE TABLE same (LIKE outbox.outbox_events INCLUDING ALL);
    ALTER TABLE same DROP CONSTRAINT headers_are_a_json_object, ALTER headers TYPE text;
    DO $$ DECLARE definition text;
    BEGIN
        FOR definition IN
            SELECT pg_get_triggerdef(oid) FROM pg_trigger
            WHERE tgrelid = 'outbox.outbox_events'::regclass AND NOT tgisinternal
        LOOP
            EXECUTE replace(definition, ' ON outbox.outbox_events ', ' ON same ');
        END LOOP;
    END $$";

/// A connection of a data layer, which inserts events in a transaction.
trait Layer {
    /// The layer, and its ways to insert. The first one is `append`.
    const NAME: &'static str;
    const WAYS: &'static [&'static str];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure>;
}

fn events(count: usize) -> Vec<Event> {
    let payload = format!("{{\"order\":7,\"lines\":\"{}\"}}", "x".repeat(170));
    (0..count)
        .map(|number| {
            let event = Event::new("order.placed", payload.clone());
            event.ordering_key(format!("order-{number}"))
        })
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Microseconds for a call.
async fn time<L: Layer>(
    layer: &mut L,
    way: usize,
    size: usize,
    calls: usize,
) -> Result<f64, Failure> {
    let calls: Vec<Vec<Event>> = (0..calls).map(|_| events(size)).collect();
    let start = Instant::now();
    for events in &calls {
        layer.insert(way, events).await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / calls.len() as f64)
}

async fn compare<L: Layer>(pool: &PgPool, mut layer: L) -> Result<(), Failure> {
    for (size, calls) in CALLS {
        let mut times = vec![Vec::new(); L::WAYS.len()];
        pool.execute("TRUNCATE same, outbox.outbox_events").await?;
        // The ways take turns at being first. The first round is not measured.
        for round in 0..=ROUNDS {
            for turn in 0..L::WAYS.len() {
                let way = (round + turn) % L::WAYS.len();
                let taken = time(&mut layer, way, size, calls).await?;
                if round > 0 {
                    times[way].push(taken);
                }
            }
        }
        print!("{}, {size} a call: ", L::NAME);
        print!("append {:.0} us", median(times[0].clone()));
        for (way, other) in L::WAYS.iter().zip(&times).skip(1) {
            let ratios = times[0].iter().zip(other).map(|(ours, other)| ours / other);
            print!(", {:.2} times {way}", median(ratios.collect()));
        }
        println!();
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = Server::start(Kind::Postgres, &search_path())?;
    let url = server.url();
    let pool = PgPool::connect(url).await?;
    PostgresStore::migrate(pool.clone()).await?;
    pool.execute(SAME).await?;
    // The settings of a production server: a commit waits for the disk.
    for setting in [
        "ALTER SYSTEM SET fsync = on",
        "ALTER SYSTEM SET synchronous_commit = on",
        "ALTER SYSTEM SET full_page_writes = on",
        "SELECT pg_reload_conf()",
    ] {
        pool.execute(setting).await?;
    }
    compare(&pool, tokio_postgres_layer::connect(url).await?).await?;
    compare(&pool, diesel_layer::connect(url)?).await?;
    compare(&pool, diesel_async_layer::connect(url).await?).await
    // Another layer is a file with a type that implements `Layer`, and a line here.
}
