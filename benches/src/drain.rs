//! A backlog through a transport that does nothing, heap on, in batches of 100 and of 1,000: ours, the
//! peer's, and the limit, which is a bare cursor on the same rows.

use crate::server::Postgres;
use crate::{Failure, bare, median, ours, peer};
use std::time::Instant;
use test_servers::{Kind, Server, search_path};

const ROUNDS: usize = 3;

/// The costs of one drain, per event.
struct Cost {
    rate: f64,
    cpu: f64,
    wal: f64,
}

pub(crate) async fn run(events: usize) -> Result<(), Failure> {
    let redis = Server::start(Kind::Redis, &search_path())?;
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    let mut slower = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        let postgres = Postgres::start().await?;
        peer::fill(&postgres, events).await?;
        peers.push(
            measure(
                &postgres,
                "peer",
                round,
                peer::drain(peer::processor(&postgres, redis.url()).await?),
            )
            .await?,
        );
        for (batch, slower) in [100, 1000].into_iter().zip(&mut slower) {
            ours::fill(&postgres, events).await?;
            let name = format!("ours, batches of {batch},");
            let cost = measure(
                &postgres,
                &name,
                round,
                ours::drain(ours::processor(&postgres, batch).await?),
            )
            .await?;
            let name = format!("bare cursor, batches of {batch},");
            let limit = measure(
                &postgres,
                &name,
                round,
                bare::drain(bare::connect(&postgres).await?, batch),
            )
            .await?;
            slower.push(limit.rate / cost.rate);
            if batch == 100 {
                own.push(cost);
            }
            ours::empty(&postgres).await?;
        }
    }
    let ratio = |figure: fn(&Cost) -> f64| {
        let ratios = own
            .iter()
            .zip(&peers)
            .map(|(own, peer)| figure(own) / figure(peer));
        median(ratios.collect())
    };
    println!(
        "ours to the peer, median of {ROUNDS}: {:.1} times the events per second, {:.3} of the CPU, \
         {:.4} of the WAL",
        ratio(|cost| cost.rate),
        ratio(|cost| cost.cpu),
        ratio(|cost| cost.wal),
    );
    for (batch, slower) in [100, 1000].into_iter().zip(slower) {
        println!(
            "the bare cursor to ours, batches of {batch}, median of {ROUNDS}: {:.1} times the events per \
             second",
            median(slower)
        );
    }
    Ok(())
}

async fn measure(
    postgres: &Postgres,
    name: &str,
    round: usize,
    drain: impl Future<Output = Result<usize, Failure>>,
) -> Result<Cost, Failure> {
    postgres.vacuum().await?;
    let before = postgres.spent().await?;
    let start = Instant::now();
    let events = drain.await? as f64;
    let time = start.elapsed().as_secs_f64();
    let (cpu, wal) = postgres.since(&before).await?;
    let cost = Cost {
        rate: events / time,
        cpu: cpu / events,
        wal: wal / events,
    };
    println!(
        "{name} {round}: {events} events, {:.0} a second, {:.2} us of server CPU and {:.1} bytes of \
         WAL each",
        cost.rate, cost.cpu, cost.wal
    );
    Ok(cost)
}
