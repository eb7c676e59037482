//! The heap on Redis compared with the peer's, on one server: failures of new and of known events, events
//! that succeed, and a drain of all that was counted.

use crate::{Failure, median};
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server as Place};
use peer_core::prelude::{DlqHeap as PeerHeap, EventId as PeerId};
use peer_redis::{RedisProvider, config::RedisTokenConfig};
use std::time::Instant;
use test_servers::{Kind, Server, search_path};

const ROUNDS: usize = 15;

/// The events of a round, and of a batch.
const EVENTS: usize = 1000;

#[derive(Clone, Copy)]
enum Step {
    New,
    Known,
    Absent,
    Drain,
}

const STEPS: [(Step, &str); 4] = [
    (Step::New, "first failures"),
    (Step::Known, "second failures"),
    (Step::Absent, "successes of events that never failed"),
    (Step::Drain, "entries drained"),
];

/// Each takes its turn in each step.
struct Contestants {
    peer: RedisProvider,
    /// One event a call, as the peer does.
    single: RedisDlqHeap,
    /// All events of a step in a call.
    batch: RedisDlqHeap,
}

pub(crate) async fn run() -> Result<(), Failure> {
    let redis = Server::start(Kind::Redis, &search_path())?;
    let own = async |name| {
        RedisDlqHeap::open(RedisConfig::new(Place::from_url(redis.url())?).namespace(name)).await
    };
    let contestants = Contestants {
        peer: RedisProvider::new(redis.url(), RedisTokenConfig::default()).await?,
        single: own("single").await?,
        batch: own("batch").await?,
    };
    // Of each step, and of each contestant: events per second in each round.
    let mut rates = [const { [const { Vec::new() }; 3] }; STEPS.len()];
    for round in 0..=ROUNDS {
        let ids: Vec<EventId> = (0..EVENTS).map(|_| EventId::new()).collect();
        let theirs: Vec<PeerId> = (0..EVENTS).map(|_| PeerId::default()).collect();
        for ((step, _), rates) in STEPS.iter().zip(&mut rates) {
            for turn in 0..3 {
                let who = (turn + round) % 3;
                let start = Instant::now();
                match who {
                    0 => contestants.peer(*step, &theirs).await?,
                    1 => contestants.single(*step, &ids).await?,
                    _ => contestants.batch(*step, &ids).await?,
                }
                // The first round fills the caches.
                if round > 0 {
                    rates[who].push(EVENTS as f64 / start.elapsed().as_secs_f64());
                }
            }
        }
    }
    for ((_, name), [peer, single, batch]) in STEPS.iter().zip(rates) {
        println!(
            "{name}: the peer {:.0} a second; ours one by one {}, by the thousand {}",
            median(peer.clone()),
            compared(&single, &peer),
            compared(&batch, &peer)
        );
    }
    Ok(())
}

/// The median, and the median of the rounds' ratios.
fn compared(own: &[f64], peer: &[f64]) -> String {
    let ratios = own.iter().zip(peer).map(|(own, peer)| own / peer);
    let ratio = median(ratios.collect());
    format!("{:.0} ({ratio:.2} times)", median(own.to_vec()))
}

impl Contestants {
    async fn peer(&self, step: Step, ids: &[PeerId]) -> Result<(), Failure> {
        match step {
            Step::New | Step::Known => {
                for id in ids {
                    self.peer.record_failure(*id).await?;
                }
            }
            Step::Absent => {
                for _ in ids {
                    self.peer.record_success(PeerId::default()).await?;
                }
            }
            Step::Drain => all(self.peer.drain_exceeded(2).await?.len())?,
        }
        Ok(())
    }

    async fn single(&self, step: Step, ids: &[EventId]) -> Result<(), Failure> {
        match step {
            Step::New | Step::Known => {
                for id in ids {
                    self.single.record_failure(*id).await?;
                }
            }
            Step::Absent => {
                for _ in ids {
                    self.single.record_success(EventId::new()).await?;
                }
            }
            Step::Drain => all(self.single.drain_exceeded(2).await?.len())?,
        }
        Ok(())
    }

    async fn batch(&self, step: Step, ids: &[EventId]) -> Result<(), Failure> {
        match step {
            Step::New | Step::Known => {
                let failure = |id: &EventId| {
                    FailedAttempt::new(*id).with_error("refused: no such topic".into())
                };
                let failures: Vec<FailedAttempt> = ids.iter().map(failure).collect();
                self.batch.record_failures(&failures).await?;
            }
            Step::Absent => {
                let absent: Vec<EventId> = ids.iter().map(|_| EventId::new()).collect();
                self.batch.forget(&absent).await?;
            }
            Step::Drain => all(self.batch.drain_exceeded(2).await?.len())?,
        }
        Ok(())
    }
}

fn all(drained: usize) -> Result<(), Failure> {
    if drained == EVENTS {
        return Ok(());
    }
    Err(format!("drained {drained} of {EVENTS}").into())
}
