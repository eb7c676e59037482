//! What an observer, the metrics and disabled spans add to a drain: the same drain by turns without and with them.

use crate::server::Postgres;
use crate::{Failure, median, ours};
use metrics_exporter_prometheus::PrometheusBuilder;
use outbox_core::{MetricsObserver, Observation, Observer, OutboxProcessor};
use std::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;

const ROUNDS: usize = 7;

const VARIANTS: [&str; 4] = [
    "without an observer",
    "with an observer that does nothing",
    "with metrics",
    "with metrics, and a log at the level warn",
];

struct Nothing;

impl Observer for Nothing {
    fn observe(&self, _: &Observation<'_>) {}
}

/// The time and the CPU time of this process for an event, in microseconds.
#[derive(Clone, Copy)]
struct Cost {
    time: f64,
    cpu: f64,
}

pub(crate) async fn run(events: usize) -> Result<(), Failure> {
    PrometheusBuilder::new().install_recorder()?;
    let postgres = Postgres::start().await?;
    let mut costs = VARIANTS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for turn in 0..VARIANTS.len() {
            let variant = (round + turn) % VARIANTS.len();
            let cost = measure(&postgres, variant, events).await?;
            let Cost { time, cpu } = cost;
            println!("{}: {time:.2} us, {cpu:.2} us of CPU", VARIANTS[variant]);
            costs[variant].push(cost);
        }
    }
    for (name, with) in VARIANTS.iter().zip(&costs).skip(1) {
        let ratio = |figure: fn(&Cost) -> f64| {
            let rounds = with.iter().zip(&costs[0]);
            median(
                rounds
                    .map(|(with, without)| figure(with) / figure(without))
                    .collect(),
            )
        };
        println!(
            "{name}, median of {ROUNDS}: {:.3} times the time, {:.3} times the CPU",
            ratio(|cost| cost.time),
            ratio(|cost| cost.cpu)
        );
    }
    Ok(())
}

async fn measure(postgres: &Postgres, variant: usize, events: usize) -> Result<Cost, Failure> {
    ours::fill(postgres, events).await?;
    postgres.vacuum().await?;
    let processor: OutboxProcessor = ours::processor(postgres, 100).await?;
    let processor = match variant {
        0 => processor,
        1 => processor.observer(Nothing),
        _ => processor.observer(MetricsObserver::new("bench")),
    };
    let (start, cpu) = (Instant::now(), own_cpu()?);
    let drain = ours::drain(processor);
    let drained = if variant == 3 {
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN);
        drain.with_subscriber(log.finish()).await?
    } else {
        drain.await?
    };
    let (time, cpu) = (start.elapsed().as_secs_f64(), own_cpu()? - cpu);
    ours::empty(postgres).await?;
    let each = |seconds: f64| seconds * 1e6 / drained as f64;
    Ok(Cost {
        time: each(time),
        cpu: each(cpu),
    })
}

/// The CPU time of this process so far, in seconds. The kernel counts it in hundredths.
fn own_cpu() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<f64>, _> = ticks.map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}
