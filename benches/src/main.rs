//! What the outbox on PostgreSQL and the heap on Redis cost compared with a peer, in one run.
//!
//! ```console
//! $ cargo run --release -- drain [EVENTS]     # a backlog, through a transport that does nothing
//! $ cargo run --release -- observed [EVENTS]  # the same drain without and with an observer and metrics
//! $ cargo run --release -- append             # events in a transaction, against a bare INSERT
//! $ cargo run --release -- held [EVENTS]      # an hour of inflow while a transaction stays open
//! $ cargo run --release -- delay              # commit to publish, on an idle system
//! $ cargo run --release -- dump [SECONDS]     # commit to publish, while a dump of the database runs
//! $ cargo run --release -- heap               # failures recorded and drained on Redis
//! $ cargo run --release -- latency            # a broker that takes milliseconds, by keys and concurrency
//! $ cargo run --release -- destinations       # 100 destinations, of which five do not work
//! $ cargo run --release -- relays             # a relay that hangs, and 1, 2, 4 and 8 relays on one store
//! ```
//!
//! Each benchmark starts its own PostgreSQL, Redis, or both, from the installed programs.
//! Figures of one run compare; figures of two runs do not.

mod append;
mod bare;
mod broker;
mod delay;
mod destinations;
mod drain;
mod dump;
mod heap;
mod held;
mod latency;
mod load;
mod observed;
mod ours;
mod peer;
mod relays;
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
        Some("observed") => {
            let events = arguments.next().map_or(Ok(300_000), |text| text.parse())?;
            observed::run(events).await
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
        Some("latency") => latency::run().await,
        Some("destinations") => destinations::run().await,
        Some("relays") => relays::run().await,
        _ => Err(
            "say which: drain [EVENTS], observed [EVENTS], held [EVENTS], append, delay, dump [SECONDS], heap, \
             latency, destinations, relays"
                .into(),
        ),
    }
}

/// The median.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
