//! The loop of a worker: claims follow one another, and several are published at the same time.

use super::pass::Taken;
use super::{OutboxProcessor, PassReport};
use crate::error::{ErrorKind, OutboxError};
use crate::shutdown::Stop;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::{Instant, sleep, sleep_until};

/// For each claim that `concurrency` allows, so many others may wait for calls that hang.
const HANGING: usize = 8;

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
    At(Instant),
}

struct Crew<'w> {
    worker: &'w OutboxProcessor,
    stop: Stop,
    running: FuturesUnordered<BoxFuture<'w, Step>>,
    /// Claims that are published, except those of which only calls that hang are left.
    busy: Arc<AtomicUsize>,
    /// All claims that are published.
    open: usize,
    claiming: bool,
    next: Next,
    /// Failures of the store in a row.
    errors: u32,
    fatal: Option<OutboxError>,
}

/// A claim that counts as busy, until it is dropped.
struct Permit(Option<Arc<AtomicUsize>>);

impl Permit {
    fn new(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(busy)))
    }

    fn release(&mut self) {
        if let Some(busy) = self.0.take() {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
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
        next: Next::Now,
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
        let next = crew.next;
        let waits = !ends && !crew.claiming && next != Next::Now || !ends && crew.is_paused();
        tokio::select! {
            biased;
            () = stop.wait(), if !ends => {}
            Some(step) = crew.running.next(), if !crew.running.is_empty() => crew.ended(step),
            () = worker.wait(next), if waits => crew.next = Next::Now,
        }
    }
}

impl Crew<'_> {
    /// Whether the broker pauses, so that no claim is made.
    fn is_paused(&self) -> bool {
        !self.claiming && !self.worker.state().breaker.pause().is_zero()
    }

    fn start_claim(&mut self) {
        let worker = self.worker;
        let limit = worker.config.concurrency();
        let busy = self.busy.load(Ordering::Relaxed);
        let full = busy >= limit || self.open >= limit * (1 + HANGING);
        let probing = worker.state().breaker.is_probing() && busy > 0;
        let full = full || worker.is_heap_lagging();
        if self.claiming || self.next != Next::Now || full || probing || self.is_paused() {
            return;
        }
        self.claiming = true;
        let stop = self.stop.clone();
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
                match result {
                    Ok(_) => {
                        self.worked();
                        if self.next == Next::WithWork {
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
        self.next = Next::WithWork;
        let Some(taken) = taken else { return };
        if taken.is_full {
            self.next = Next::Now;
        }
        self.open += 1;
        let (worker, stop) = (self.worker, self.stop.clone());
        let mut permit = Permit::new(&self.busy);
        let publish = async move {
            let report = worker.publish(taken, stop, || permit.release()).await;
            Step::Published(report)
        };
        self.running.push(publish.boxed());
    }

    fn worked(&mut self) {
        self.errors = 0;
        self.worker.state().store.succeeded();
    }

    fn failed(&mut self, error: OutboxError) {
        if error.needs_operator() {
            self.fatal.get_or_insert(error);
            return;
        }
        self.errors += 1;
        self.worker.log_failed_pass(&error);
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

    /// Waits until the next claim may find events.
    async fn wait(&self, next: Next) {
        let pause = self.state().breaker.pause();
        if let Next::At(at) = next {
            sleep_until(at).await;
        } else if !pause.is_zero() {
            sleep(pause).await;
        } else if let Some(probe) = self.pauses.next_resumption() {
            tokio::select! {
                () = sleep_until(probe) => {}
                () = self.wait_for_work() => {}
            }
        } else {
            self.wait_for_work().await;
        }
    }

    async fn wait_for_work(&self) {
        let poll = self.config.poll_interval();
        let result = self.storage.wait_for_work(poll).await;
        match result {
            Ok(()) => self.state().wake_up.succeeded(),
            Err(error) => {
                let effect = "the worker asks for events at each poll interval";
                self.state().wake_up.failed(&error, effect);
                sleep(poll).await;
            }
        }
    }
}
