//! What the outbox on PostgreSQL and the heap on Redis cost compared with a peer, in one run.
//!
//! ```console
//! $ cargo run --release -- drain [EVENTS]     # a backlog, through a transport that does nothing
//! $ cargo run --release -- append             # events in a transaction, against a bare INSERT
//! $ cargo run --release -- held [EVENTS]      # an hour of inflow while a transaction stays open
//! $ cargo run --release -- delay              # commit to publish, on an idle system
//! $ cargo run --release -- dump [SECONDS]     # commit to publish, while a dump of the database runs
//! $ cargo run --release -- heap               # failures recorded and drained on Redis
//! ```
//!
//! Each benchmark starts its own PostgreSQL, Redis, or both, from the installed programs.
//! Figures of one run compare; figures of two runs do not.

mod append;
mod bare;
mod delay;
mod drain;
mod dump;
mod heap;
mod held;
mod ours;
mod peer;
mod server;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("drain") => {
            let events = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
            drain::run(events).await
        }
        Some("held") => {
            let events = arguments
                .next()
                .map_or(Ok(3_600_000), |text| text.parse())?;
            held::run(events).await
        }
        Some("append") => append::run().await,
        Some("delay") => delay::run().await,
        Some("dump") => {
            let seconds = arguments.next().map_or(Ok(60), |text| text.parse())?;
            dump::run(seconds).await
        }
        Some("heap") => heap::run().await,
        _ => Err(
            "say which: drain [EVENTS], held [EVENTS], append, delay, dump [SECONDS], heap".into(),
        ),
    }
}

/// The median.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
