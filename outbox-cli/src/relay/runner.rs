//! Runs the services of a process next to each other.

use super::orders::{self, Commander, Orders};
use super::service::Service;
use crate::failure::Failure;
use crate::health::{Board, StoreHealth};
use crate::settings::{Plan, ServiceSettings};
use crate::signals::Signals;
use crate::systemd::{Starting, State, report};
use crate::telemetry::of_store;
use crate::wiring::Budget;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

/// Between two starts of a service that fails. It doubles with each failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a task of the runner ended.
struct Ended {
    name: Arc<str>,
    result: Result<(), Failure>,
}

/// A service that runs, or is tried again.
struct Running {
    settings: ServiceSettings,
    /// The size of its pools.
    size: u32,
    commander: Commander,
}

/// All services of the process. One that fails disturbs none of the others.
pub(super) struct Runner {
    /// By their names.
    running: BTreeMap<Arc<str>, Running>,
    /// They start when the tasks have ended that were asked to stop: these may hold their files, their
    /// destinations and their connections.
    waiting: Vec<(ServiceSettings, u32)>,
    tasks: JoinSet<Ended>,
    /// The only service ends the process when it fails.
    is_alone: bool,
    drains: bool,
    failures: BTreeMap<Arc<str>, Failure>,
    /// None: the process does not listen.
    board: Option<Board>,
    /// Where the process listens until it ends.
    listen: Option<SocketAddr>,
    /// Of the services that the process starts with; none later.
    starting: Option<Starting>,
}

impl Runner {
    pub(super) fn start(plan: Plan, drains: bool, board: Option<Board>) -> Self {
        let mut runner = Self {
            running: BTreeMap::new(),
            waiting: Vec::new(),
            tasks: JoinSet::new(),
            is_alone: plan.services.len() == 1,
            drains,
            failures: BTreeMap::new(),
            board,
            listen: plan.listen,
            starting: Some(Starting::of(plan.services.len())),
        };
        runner.adopt(plan);
        runner.starting = None;
        runner
    }

    /// Returns when all services have ended: at a signal, or when they are drained or have failed. At a
    /// hangup, `reload` says which services are to run from then on.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        reload: impl Fn() -> Result<Plan, Failure>,
    ) -> Result<(), Failure> {
        let mut stops = false;
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    None => return self.summary(),
                    Some(ended) => self.ended(ended, stops),
                },
                hangup = signals.hangup(), if !stops => if hangup {
                    self.hang_up(&reload);
                } else {
                    stops = true;
                    report(State::Stopping);
                    // Without its commander each of them stops.
                    self.running.clear();
                    self.waiting.clear();
                },
            }
        }
    }

    fn hang_up(&mut self, reload: &impl Fn() -> Result<Plan, Failure>) {
        for running in self.running.values() {
            running.commander.hang_up();
        }
        report(State::Reloading);
        match reload() {
            Ok(plan) => self.adopt(plan),
            Err(failure) => {
                let error = failure.to_string().replace('\n', "; ");
                tracing::error!(
                    error,
                    "the configuration is refused as a whole, and the relay continues with the old one"
                );
            }
        }
        report(State::Ready);
    }

    /// Lets the services of the plan run and no others. Those that have not changed run on.
    fn adopt(&mut self, plan: Plan) {
        let is_first = self.running.is_empty();
        let Plan {
            services,
            budget,
            listen,
        } = plan;
        let unchanged = |running: &Running| services.contains(&running.settings);
        self.running.retain(|_, running| unchanged(running));
        let is_new = |service: &&ServiceSettings| !self.running.contains_key(&service.name);
        let new: Vec<ServiceSettings> = services.iter().filter(is_new).cloned().collect();
        if !is_first {
            let (kept, started) = (self.running.len(), new.len());
            tracing::info!(kept, started, "the configuration is loaded");
            self.is_alone &= started == 0;
            if listen != self.listen {
                let (now, then) = (shown(self.listen), shown(listen));
                tracing::warn!(
                    "listen is {now} until a restart, then {then}: a reload does not change it"
                );
            }
        }
        let kept = self.running.values();
        let kept = kept.map(|kept| Budget::of(&kept.settings, kept.size)).sum();
        self.waiting = if let Some(size) = budget.size(&new, kept) {
            new.into_iter().map(|service| (service, size)).collect()
        } else {
            // The budget is shared again, which all of them have to restart for.
            self.running.clear();
            let size = budget.size(&services, 0).unwrap_or_default();
            services
                .into_iter()
                .map(|service| (service, size))
                .collect()
        };
        self.start_waiting();
    }

    fn start_waiting(&mut self) {
        if self.tasks.len() == self.running.len() {
            for (settings, size) in std::mem::take(&mut self.waiting) {
                self.add(settings, size);
            }
        }
    }

    fn add(&mut self, settings: ServiceSettings, size: u32) {
        let (commander, orders) = orders::channel();
        let name = Arc::clone(&settings.name);
        self.failures.remove(&name);
        let (drains, tries_again) = (self.drains, !self.is_alone && !self.drains);
        // The log lines and the spans name the store, unless it is alone.
        let named = (!self.is_alone).then(|| Arc::clone(&name));
        let span = named.as_ref().map_or_else(tracing::Span::none, |name| {
            tracing::error_span!("relay", store = &**name)
        });
        let running = Running {
            settings: settings.clone(),
            size,
            commander,
        };
        self.running.insert(Arc::clone(&name), running);
        let health = self.board.as_ref().map(|board| board.add(&settings));
        let starting = self.starting.clone();
        let work = async move {
            let start = Start {
                settings,
                size,
                drains,
                health,
            };
            let result = keep_running(&start, starting, tries_again, orders).await;
            Ended { name, result }
        };
        self.tasks.spawn(of_store(named, work).instrument(span));
    }

    /// `stops`: the whole process was asked to stop.
    fn ended(&mut self, ended: Result<Ended, JoinError>, stops: bool) {
        match ended {
            Ok(Ended { name, result }) => {
                // One that was asked to stop is not there any more, and none of its name has started yet.
                let is_removed = self.running.remove(&name).is_none() && !stops;
                // A store that has failed stays on the board, unless a new configuration does not have it.
                if let Some(board) = self.board.as_ref().filter(|_| is_removed || result.is_ok()) {
                    board.remove(&name);
                }
                if let Err(failure) = result {
                    if !self.is_alone && !self.drains {
                        tracing::error!(store = &*name, error = %failure, "the relay of a store has failed");
                    }
                    if !is_removed {
                        self.failures.insert(name, failure);
                    }
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
        self.start_waiting();
    }

    fn summary(mut self) -> Result<(), Failure> {
        if self.is_alone {
            let failure = self.failures.pop_first();
            return failure.map_or(Ok(()), |(_, failure)| Err(failure));
        }
        if self.failures.is_empty() {
            return Ok(());
        }
        let failed = self.failures.iter();
        let failed: Vec<String> = failed
            .map(|(name, failure)| format!("{name}: {failure}"))
            .collect();
        let failed = failed.join("; ");
        Err(Failure::Failed(format!("stores failed: {failed}")))
    }
}

fn shown(listen: Option<SocketAddr>) -> String {
    listen.map_or_else(|| "not set".to_owned(), |address| address.to_string())
}

/// What a service is opened with.
pub(super) struct Start {
    pub(super) settings: ServiceSettings,
    /// Of each of its pools.
    pub(super) size: u32,
    pub(super) drains: bool,
    /// None: the process does not listen.
    pub(super) health: Option<StoreHealth>,
}

/// Runs a service until it is stopped. One that may try again is opened again when it has failed, after
/// pauses that grow, because a person may have repaired its store meanwhile.
async fn keep_running(
    start: &Start,
    mut starting: Option<Starting>,
    tries_again: bool,
    mut orders: Orders,
) -> Result<(), Failure> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let began = Instant::now();
        let mut stop = orders.clone();
        let opened = tokio::select! {
            biased;
            () = stop.stop() => return Ok(()),
            opened = Service::open(start) => opened,
        };
        if let Some(starting) = starting.take_if(|_| opened.is_ok() || tries_again) {
            starting.started();
        }
        let result = match opened {
            Ok(service) => service.run(orders.clone()).await,
            Err(failure) => Err(failure),
        };
        let Err(failure) = result else {
            return Ok(());
        };
        if let Some(health) = &start.health {
            health.failed(&failure);
        }
        if !tries_again {
            return Err(failure);
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = SHORTEST_PAUSE;
        }
        tracing::error!(error = %failure, ?pause, "this store has no relay until it is opened again");
        tokio::select! {
            biased;
            () = orders.stop() => return Err(failure),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
