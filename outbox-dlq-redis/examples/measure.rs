//! Measures the heap on a server: `cargo run --release -p outbox-dlq-redis --example measure -- URL`.
//! It works in the namespace `measure`, which it empties.

use outbox_core::{DlqHeap, EventId, FailedAttempt, OutboxError};
use outbox_dlq_redis::redis::{Client, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LARGE: usize = 100_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or("redis://127.0.0.1/".to_owned());
    let heap =
        RedisDlqHeap::open(RedisConfig::new(Server::from_url(&url)?).namespace("measure")).await?;
    heap.drain_exceeded(1).await?;
    batches(&heap).await?;
    pings(&url, "nothing", &heap, |_| Box::pin(pause())).await?;
    fill(&heap).await?;
    memory(&url)?;
    pings(&url, "a drain of 100,000", &heap, |heap| {
        Box::pin(async move { heap.drain_exceeded(1).await.map(drop) })
    })
    .await?;
    fill(&heap).await?;
    pings(&url, "100,000 leased and forgotten", &heap, |heap| {
        Box::pin(lease_all(heap))
    })
    .await?;
    pings(&url, "100,000 recorded in batches", &heap, |heap| {
        Box::pin(fill(heap))
    })
    .await?;
    heap.drain_exceeded(1).await?;
    Ok(())
}

fn failures(count: usize) -> Vec<FailedAttempt> {
    (0..count)
        .map(|_| FailedAttempt::new(EventId::new()).with_error("refused: no such topic".into()))
        .collect()
}

/// One by one against 1,000 in a batch.
async fn batches(heap: &RedisDlqHeap) -> Result<(), OutboxError> {
    let (failures, start) = (failures(1000), Instant::now());
    for failure in &failures {
        heap.record_failures(std::slice::from_ref(failure)).await?;
    }
    let single = start.elapsed();
    heap.drain_exceeded(1).await?;
    let mut batched = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        heap.record_failures(&failures).await?;
        batched = batched.min(start.elapsed());
    }
    println!(
        "1,000 failures: one by one {single:.1?}, in a batch {batched:.1?}, {:.0} times as fast",
        single.as_secs_f64() / batched.as_secs_f64()
    );
    heap.drain_exceeded(1).await.map(drop)
}

async fn pause() -> Result<(), OutboxError> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn fill(heap: &RedisDlqHeap) -> Result<(), OutboxError> {
    for _ in 0..LARGE / 1000 {
        heap.record_failures(&failures(1000)).await?;
    }
    Ok(())
}

fn memory(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut connection = Client::open(url)?.get_connection()?;
    for name in ["counts", "turns", "first", "details"] {
        let key = format!("outbox-dlq:{{measure}}:{name}");
        let usage = ["USAGE", &key, "SAMPLES", "0"];
        let bytes: usize = cmd("MEMORY").arg(&usage).query(&mut connection)?;
        println!("{name}: {} bytes an entry", bytes / LARGE);
    }
    Ok(())
}

async fn lease_all(heap: &RedisDlqHeap) -> Result<(), OutboxError> {
    loop {
        let leased = heap
            .lease_exceeded(1, 1000, Duration::from_secs(60))
            .await?;
        if leased.is_empty() {
            return Ok(());
        }
        let ids: Vec<EventId> = leased.iter().map(|entry| entry.id).collect();
        heap.forget(&ids).await?;
    }
}

type Work<'h> = std::pin::Pin<Box<dyn Future<Output = Result<(), OutboxError>> + Send + 'h>>;

/// Runs `work` while another client, on a separate thread, measures how long its `PING` takes.
async fn pings<'h>(
    url: &str,
    name: &str,
    heap: &'h RedisDlqHeap,
    work: impl FnOnce(&'h RedisDlqHeap) -> Work<'h>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut other = Client::open(url)?.get_connection()?;
    let done = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&done);
    let pinging = std::thread::spawn(move || {
        let mut times = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            let start = Instant::now();
            if cmd("PING").exec(&mut other).is_err() {
                break;
            }
            times.push(start.elapsed());
        }
        times.sort_unstable();
        times
    });
    let start = Instant::now();
    work(heap).await?;
    let took = start.elapsed();
    done.store(true, Ordering::Relaxed);
    let times = pinging.join().map_err(|_| "the other client failed")?;
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    println!(
        "{name}: {took:.1?}; {} pings, half within {:.2?}, p99 {:.2?}, p99.9 {:.2?}, longest {:.2?}",
        times.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    Ok(())
}
