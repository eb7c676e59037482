//! What the outbox on PostgreSQL and the heap on Redis cost, beside their peers, in one run.
//!
//! ```console
//! $ cargo run --release -- drain [EVENTS]     # a backlog, through a transport that does nothing
//! $ cargo run --release -- append             # events in a transaction, against a bare INSERT
//! $ cargo run --release -- held [EVENTS]      # an hour's inflow while a transaction stays open
//! $ cargo run --release -- delay              # commit to publish, while nothing else happens
//! $ cargo run --release -- heap               # failures recorded and drained on Redis
//! ```
//!
//! Each starts a PostgreSQL, a Redis, or both, of its own from what is installed.
//! Figures of one run compare; figures of two runs do not.

mod append;
mod delay;
mod drain;
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
        Some("heap") => heap::run().await,
        _ => Err("say which: drain [EVENTS], held [EVENTS], append, delay, heap".into()),
    }
}

/// The middle of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
