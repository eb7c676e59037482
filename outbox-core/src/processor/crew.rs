//! The loop of a worker: claims follow one another, and several are published at the same time.

use super::pass::Taken;
use super::{OutboxProcessor, PassReport};
use crate::error::{ErrorKind, OutboxError};
use crate::retry::RetrySchedule;
use crate::shutdown::Stop;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, sleep_until};

/// For each claim that `concurrency` allows, so many others may wait for calls that hang.
const HANGING: usize = 8;

/// For how long no further claim is made while as many are open as when one found nothing. An empty
/// claim costs the store several statements, and a few keys cannot fill more claims.
const ENOUGH: Duration = Duration::from_millis(50);

/// After a claim, the next one waits this long for the end of a claim: if the broker answers at once, claims
/// that follow one another cost the store less than claims side by side.
const OVERLAP: Duration = Duration::from_millis(2);

/// The same after a claim that found less than it might have. Small claims cost as much as large ones.
const GATHER: Duration = Duration::from_millis(5);

/// While nothing shows that the broker works, a claim is made once in this time. It finds the events of other
/// destinations, and leaves most events to other workers, which may reach the broker.
pub(super) const SILENT: Duration = Duration::from_secs(1);

/// The polls of an idle worker grow up to so many times the poll interval. What brings work wakes it earlier
/// (S17), so they only find what that missed.
const LONGEST_POLL: u32 = 5;

/// Something that has ended.
enum Step {
    Taken(Result<Option<Taken>, OutboxError>),
    Published(Result<PassReport, OutboxError>),
    Reported,
}

/// When the next claim is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Now,
    /// When there is work, or when a claim that is published has ended.
    WithWork,
    /// When a claim that is published has ended, or at this time.
    WithRoom(Instant),
    /// At this time, or when the broker has answered.
    WithAnswer(Instant),
    At(Instant),
}

struct Crew<'w> {
    worker: &'w OutboxProcessor,
    stop: Stop,
    running: FuturesUnordered<BoxFuture<'w, Step>>,
    /// Claims that are published, except those of which only calls that hang are left.
    busy: Arc<Busy>,
    /// All claims that are published.
    open: usize,
    claiming: bool,
    /// The claims that were open when the claim that is being made began.
    open_before: usize,
    /// One of them has ended since, so the claim may have looked too early.
    ended_meanwhile: bool,
    /// A claim found nothing while so many were open. Until then, a further one would find nothing either.
    enough: Option<(usize, Instant)>,
    next: Next,
    /// Claims in a row that found nothing while no other was open.
    idle: u32,
    /// Failures of the store in a row.
    errors: u32,
    fatal: Option<OutboxError>,
}

/// How many claims are busy.
#[derive(Default)]
struct Busy {
    claims: AtomicUsize,
    /// Wakes the crew when there are fewer: a claim of which only calls that hang are left does not end.
    fewer: Notify,
}

/// A claim that counts as busy, until it is dropped.
struct Permit(Option<Arc<Busy>>);

impl Permit {
    fn new(busy: &Arc<Busy>) -> Self {
        busy.claims.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(busy)))
    }

    /// Of a claim that does not end yet. The end of a claim wakes the crew by itself.
    fn release(&mut self) {
        if let Some(busy) = self.end() {
            busy.fewer.notify_one();
        }
    }

    fn end(&mut self) -> Option<Arc<Busy>> {
        let busy = self.0.take()?;
        busy.claims.fetch_sub(1, Ordering::Relaxed);
        Some(busy)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end();
    }
}

/// Works until `stop`, and then until the claims that are open have ended.
pub(super) async fn run(worker: &OutboxProcessor, stop: Stop) -> Result<(), OutboxError> {
    let mut crew = Crew {
        worker,
        stop,
        running: FuturesUnordered::new(),
        busy: Arc::default(),
        open: 0,
        claiming: false,
        open_before: 0,
        ended_meanwhile: false,
        enough: None,
        next: Next::Now,
        idle: 0,
        errors: 0,
        fatal: None,
    };
    loop {
        let ends = crew.stop.requested() || crew.fatal.is_some();
        if ends && crew.running.is_empty() {
            return crew.fatal.map_or(Ok(()), Err);
        }
        if !ends {
            crew.start_report();
            crew.start_claim();
        }
        let mut stop = crew.stop.clone();
        let busy = Arc::clone(&crew.busy);
        let next = crew.next;
        let waits = !ends && !crew.claiming && (next != Next::Now || crew.is_paused());
        tokio::select! {
            biased;
            () = stop.wait(), if !ends => {}
            Some(step) = crew.running.next(), if !crew.running.is_empty() => crew.ended(step),
            () = busy.fewer.notified(), if !ends && !waits => {}
            () = worker.wait(next, crew.idle), if waits => crew.next = Next::Now,
        }
    }
}

impl Crew<'_> {
    /// Whether the broker pauses, so that no claim is made.
    fn is_paused(&self) -> bool {
        !self.claiming && !self.worker.state().breaker.pause().is_zero()
    }

    fn may_claim(&self) -> bool {
        let limit = self.worker.config.concurrency();
        let busy = self.busy.claims.load(Ordering::Relaxed);
        let is_full = busy >= limit || self.open >= limit * (1 + HANGING);
        let is_unsure =
            self.worker.state().breaker.is_probing() || !self.worker.pauses.has_answer();
        let probes = is_unsure && busy > 0;
        let waits = self.claiming || self.next != Next::Now || self.is_paused();
        !(is_full || probes || waits || self.worker.is_heap_lagging())
    }

    fn start_claim(&mut self) {
        if !self.may_claim() {
            return;
        }
        self.claiming = true;
        (self.open_before, self.ended_meanwhile) = (self.open, false);
        let (worker, stop) = (self.worker, self.stop.clone());
        let take = async move { Step::Taken(worker.take(stop).await) };
        self.running.push(take.boxed());
    }

    fn start_report(&mut self) {
        if self.worker.is_report_due() {
            let worker = self.worker;
            let report = async move {
                worker.flush_heap().await;
                Step::Reported
            };
            self.running.push(report.boxed());
        }
    }

    fn ended(&mut self, step: Step) {
        match step {
            Step::Taken(result) => {
                self.claiming = false;
                match result {
                    Ok(taken) => self.taken(taken),
                    Err(error) => self.failed(error),
                }
            }
            Step::Published(result) => {
                self.open -= 1;
                self.ended_meanwhile = true;
                match result {
                    Ok(_) => {
                        self.worked();
                        let is_over = match self.next {
                            Next::WithWork | Next::WithRoom(_) => true,
                            Next::WithAnswer(_) => !self.worker.pauses.is_silent(),
                            Next::Now | Next::At(_) => false,
                        };
                        if is_over {
                            self.next = Next::Now;
                        }
                    }
                    Err(error) => self.failed(error),
                }
            }
            Step::Reported => {}
        }
    }

    fn taken(&mut self, taken: Option<Taken>) {
        self.worked();
        self.next = if self.ended_meanwhile {
            Next::Now
        } else {
            Next::WithWork
        };
        let Some(taken) = taken else {
            if self.open_before > 0 {
                self.enough = Some((self.open_before, Instant::now() + ENOUGH));
            } else {
                self.idle = self.idle.saturating_add(1);
            }
            return;
        };
        self.idle = 0;
        self.open += 1;
        if taken.is_full {
            self.next = self.after_full_claim();
        } else if self.next == Next::WithWork {
            self.next = Next::WithRoom(Instant::now() + GATHER);
        }
        if self.worker.pauses.is_silent() {
            self.next = Next::WithAnswer(Instant::now() + SILENT);
        }
        let (worker, stop) = (self.worker, self.stop.clone());
        let mut permit = Permit::new(&self.busy);
        let publish = async move {
            let report = worker.publish(taken, stop, || permit.release()).await;
            Step::Published(report)
        };
        self.running.push(publish.boxed());
    }

    fn after_full_claim(&self) -> Next {
        match self.enough {
            Some((open, until)) if self.open >= open && Instant::now() < until => {
                Next::WithRoom(until)
            }
            _ => Next::WithRoom(Instant::now() + OVERLAP),
        }
    }

    fn worked(&mut self) {
        self.errors = 0;
        self.worker.vitals.passed();
        self.worker.state().store.succeeded();
    }

    fn failed(&mut self, error: OutboxError) {
        if error.needs_operator() {
            self.fatal.get_or_insert(error);
            return;
        }
        self.worker.log_failed_pass(&error);
        if matches!(self.next, Next::At(_)) {
            // One outage of the store fails several claims at once.
            return;
        }
        self.errors += 1;
        let pause = self.worker.config.store_retry().random_delay(self.errors);
        self.next = Next::At(Instant::now() + pause);
    }
}

impl OutboxProcessor {
    fn log_failed_pass(&self, error: &OutboxError) {
        let effect = "unsettled events will be delivered again";
        match error.kind() {
            ErrorKind::Unavailable => {
                self.state().store.failed(error, effect);
            }
            ErrorKind::LeaseLost => tracing::warn!(
                %error,
                "a claim was lost: its events may be delivered twice"
            ),
            _ => tracing::warn!(%error, "a pass failed: {effect}"),
        }
    }

    /// Waits until the next claim may find events. `idle` claims before it found nothing.
    async fn wait(&self, next: Next, idle: u32) {
        let pause = self.state().breaker.pause();
        if let Next::At(at) | Next::WithRoom(at) | Next::WithAnswer(at) = next {
            sleep_until(at).await;
        } else if !pause.is_zero() {
            sleep(pause).await;
        } else if let Some(probe) = self.pauses.next_resumption() {
            tokio::select! {
                () = sleep_until(probe) => {}
                () = self.wait_for_work(idle) => {}
            }
        } else {
            self.wait_for_work(idle).await;
        }
    }

    async fn wait_for_work(&self, idle: u32) {
        let result = self.storage.wait_for_work(self.poll(idle)).await;
        match result {
            Ok(()) => self.state().wake_up.succeeded(),
            Err(error) => {
                let effect = "the worker asks for events at each poll interval";
                self.state().wake_up.failed(&error, effect);
                sleep(self.config.poll_interval()).await;
            }
        }
    }

    /// How long the next wait may take: at first the poll interval. While nothing comes it grows, and a part of
    /// it is random, so that the polls of many workers spread.
    fn poll(&self, idle: u32) -> Duration {
        let poll = self.config.poll_interval();
        if idle < 2 {
            return poll;
        }
        let polls = RetrySchedule {
            initial: poll,
            max: poll * LONGEST_POLL,
        };
        polls.random_pause(idle, false)
    }
}
