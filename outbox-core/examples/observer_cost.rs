//! What an observer costs for an event, on a store and a broker that do nothing.
//!
//! ```console
//! $ cargo run --release -p outbox-core --features metrics --example observer_cost
//! ```

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DlqEntry, Event, MetricsObserver,
    OutboxError, OutboxProcessor, OutboxStorage, PublishError, QuarantineOutcome, Settlement,
    Transport,
};
use std::time::{Duration, Instant};

/// Events of a claim.
const BATCH: u32 = 100;

/// Claims of a round.
const CLAIMS: u32 = 5_000;

const ROUNDS: usize = 11;

/// Each claim has the same new events.
#[derive(Debug)]
struct Endless(Vec<Event>);

#[async_trait]
impl OutboxStorage for Endless {
    async fn claim(&self, _: ClaimLimit, _: Duration) -> Result<Claim, OutboxError> {
        let claimed = |event: &Event| ClaimedEvent::new(event.clone(), 0, false);
        let events = self.0.iter().map(claimed).collect();
        Ok(Claim::new(ClaimToken::new(), events))
    }

    async fn settle(&self, _: ClaimToken, _: &[Settlement]) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        Ok(vec![QuarantineOutcome::Moved; entries.len()])
    }

    async fn wait_for_work(&self, _: Duration) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        Ok(Backlog::default())
    }
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Transport for Nothing {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        events.iter().map(|_| Ok(())).collect()
    }
}

/// Nanoseconds for an event.
async fn round(worker: &mut OutboxProcessor) -> Result<f64, OutboxError> {
    let start = Instant::now();
    for _ in 0..CLAIMS {
        worker.process_pending_events().await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH * CLAIMS))
}

fn worker() -> OutboxProcessor {
    let event = |number: u32| {
        Event::new("order.placed", vec![b'x'; 200]).ordering_key(format!("customer {number}"))
    };
    OutboxProcessor::new(Endless((0..BATCH).map(event).collect()), Nothing)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.01, 0.1, 1.0, 10.0])?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    let (mut without, mut with) = (worker(), worker().observer(MetricsObserver::new("orders")));
    let (mut bare, mut counted) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(round(&mut without).await?);
        counted.push(round(&mut with).await?);
        handle.run_upkeep();
    }
    let (bare, counted) = (median(bare), median(counted));
    println!("without an observer {bare:.0} ns for an event, with metrics {counted:.0} ns");
    Ok(())
}
