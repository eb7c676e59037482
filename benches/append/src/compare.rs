//! Measures the ways of a data layer to insert by turns, on one connection and with a transaction for each call.
//! The programs of the layers in other workspaces include this file.

use outbox_core::Event;
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{Executor, PgPool};
use std::fmt::Write as _;
use std::time::Instant;
use test_servers::{Kind, Server, search_path};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sizes of a call, and how many calls a round has.
const CALLS: [(usize, u32); 4] = [(1, 200), (10, 100), (100, 40), (1000, 8)];
const ROUNDS: usize = 21;

/// A table with the columns, the constraints, the indexes and the triggers of the outbox, so that only the
/// layers differ. The headers are a text, which each layer can send. The rows of both tables are numbered by one
/// sequence, because a trigger does more for a row whose number is not from that of the outbox.
const SAME: &str = "
    CREATE TABLE same (LIKE outbox.outbox_events INCLUDING ALL);
    ALTER TABLE same DROP CONSTRAINT headers_are_a_json_object, ALTER headers TYPE text,
        ALTER seq DROP IDENTITY;
    ALTER TABLE same ALTER seq SET DEFAULT nextval('outbox.outbox_events_seq_seq');
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
pub(crate) trait Layer {
    /// The layer, and its ways to insert. The first one is `append`.
    const NAME: &'static str;
    const WAYS: &'static [&'static str];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure>;
}

/// Events of 200 bytes.
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
    calls: u32,
) -> Result<f64, Failure> {
    let events: Vec<Vec<Event>> = (0..calls).map(|_| events(size)).collect();
    let start = Instant::now();
    for events in &events {
        layer.insert(way, events).await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls))
}

/// A server with both tables.
pub(crate) struct Place {
    server: Server,
    pool: PgPool,
}

impl Place {
    /// Starts the server with the settings of production: a commit waits for the disk.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let server = Server::start(Kind::Postgres, &search_path())?;
        let pool = PgPool::connect(server.url()).await?;
        PostgresStore::migrate(pool.clone()).await?;
        pool.execute(SAME).await?;
        for setting in [
            "ALTER SYSTEM SET fsync = on",
            "ALTER SYSTEM SET synchronous_commit = on",
            "ALTER SYSTEM SET full_page_writes = on",
            "SELECT pg_reload_conf()",
        ] {
            pool.execute(setting).await?;
        }
        println!("| layer | `append`, and compared with | 1 event | 10 | 100 | 1,000 |");
        println!("|---|---|---|---|---|---|");
        Ok(Self { server, pool })
    }

    /// The URL without its parameters, which only sqlx knows.
    pub(crate) fn url(&self) -> &str {
        self.server.url().split('?').next().unwrap_or_default()
    }

    /// Prints a row for each way: the time of `append`, and how many times as long it takes as each other way.
    pub(crate) async fn compare<L: Layer>(&self, mut layer: L) -> Result<(), Failure> {
        let mut rows = vec![String::new(); L::WAYS.len()];
        for (size, calls) in CALLS {
            let times = self.measure(&mut layer, size, calls).await?;
            write!(rows[0], " {:.0} µs |", median(times[0].clone()))?;
            for (row, other) in rows.iter_mut().zip(&times).skip(1) {
                let ratios = times[0].iter().zip(other).map(|(ours, other)| ours / other);
                write!(row, " {:.2} |", median(ratios.collect()))?;
            }
        }
        for (way, row) in L::WAYS.iter().zip(rows) {
            println!("| {} | {way} |{row}", L::NAME);
        }
        Ok(())
    }

    /// Microseconds for a call, by the way and the round.
    async fn measure<L: Layer>(
        &self,
        layer: &mut L,
        size: usize,
        calls: u32,
    ) -> Result<Vec<Vec<f64>>, Failure> {
        let mut times = vec![Vec::new(); L::WAYS.len()];
        let empty = "TRUNCATE same, outbox.outbox_events";
        self.pool.execute(empty).await?;
        // The ways take turns at being first. The first round is not measured.
        for round in 0..=ROUNDS {
            for turn in 0..L::WAYS.len() {
                let way = (round + turn) % L::WAYS.len();
                let taken = time(layer, way, size, calls).await?;
                if round > 0 {
                    times[way].push(taken);
                }
            }
        }
        Ok(times)
    }
}
