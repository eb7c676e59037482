//! The inflow of an hour, compressed, while a transaction stays open.

use crate::server::Postgres;
use crate::{Failure, median, ours};
use outbox_store_postgres::sqlx::{Connection, Executor, PgConnection, Row};
use std::time::Instant;

/// How many parts the inflow is measured in.
const PARTS: usize = 20;

/// The figures of one part.
struct Part {
    /// Microseconds for an event, drained and cleaned up.
    time: f64,
    cpu: f64,
}

pub(crate) async fn run(events: usize) -> Result<(), Failure> {
    for held in [false, true] {
        let postgres = Postgres::start().await?;
        ours::fill(&postgres, 1).await?;
        let mut open = PgConnection::connect(postgres.url()).await?;
        if held {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
            open.execute(begin).await?;
        }
        let mut parts = Vec::new();
        let mut largest = 0;
        for _ in 0..PARTS {
            ours::fill(&postgres, events / PARTS).await?;
            let before = postgres.spent().await?;
            let start = Instant::now();
            let drained = ours::drain(ours::processor(&postgres, 100).await?).await? as f64;
            let time = start.elapsed().as_secs_f64() * 1e6 / drained;
            let (cpu, _) = postgres.since(&before).await?;
            let cpu = cpu / drained;
            parts.push(Part { time, cpu });
            largest = largest.max(size(&postgres).await?);
            ours::clean_up(&postgres).await?;
        }
        let state = if held { "open" } else { "not open" };
        println!(
            "a transaction {state}: {events} events, in parts of {}; at most {largest} kB, at the end \
             {} kB",
            events / PARTS,
            size(&postgres).await?
        );
        for (name, figure) in [
            ("time", (|part| part.time) as fn(&Part) -> f64),
            ("server CPU", |part| part.cpu),
        ] {
            let quarter = PARTS / 4;
            let first = median(parts[..quarter].iter().map(figure).collect());
            let last = median(parts[PARTS - quarter..].iter().map(figure).collect());
            println!(
                "  {name}: {first:.2} us an event in the first quarter, {last:.2} in the last, ratio {:.2}",
                last / first
            );
        }
    }
    Ok(())
}

/// The tables and indexes of the outbox, in kilobytes.
async fn size(postgres: &Postgres) -> Result<i64, Failure> {
    let sizes = "SELECT sum(pg_total_relation_size(oid))::bigint / 1024 FROM pg_class
                 WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'";
    Ok(postgres.pool.fetch_one(sizes).await?.get(0))
}
