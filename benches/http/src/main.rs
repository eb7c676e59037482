//! What HTTP endpoints cost.
//!
//! ```console
//! $ cargo run --release -- throughput    # the transport against reqwest alone
//! $ cargo run --release -- endpoints     # 1,000 endpoints, of which 33 do not work
//! ```
//!
//! The server is in this process. Figures of one run compare; figures of two runs do not.

mod endpoints;
mod server;
mod throughput;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("throughput") => throughput::run().await,
        Some("endpoints") => endpoints::run().await,
        _ => Err("say which: throughput or endpoints".into()),
    }
}

/// The median.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
